"""What a sync leaves alone, and why: out of scope, excluded, blocked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bms_pipeline.core.entities import ENTITIES
from bms_pipeline.reconcile.matching import Scope
from bms_pipeline.reports import figures
from bms_pipeline.reports.plan_preview import overview
from bms_pipeline.sync import deciding, planning, services
from bms_pipeline_tests.building import (
    AS_HELD,
    CREATE_ALL,
    VENDOR_TYPE,
    Decided,
    World,
    account,
    asset,
    contact,
    employee,
    in_passportal,
    location,
    opened_world,
)

MATCHED, INACTIVE, VENDOR, NO_TYPE, UNKNOWN_TYPE, EXCLUDED, NEW, TWIN, OTHER_TWIN, NOT_LISTED = range(1, 11)
ON = {each.name: True for each in ENTITIES}


def fill(world: World) -> None:
    """One account for each reason, each with a contact of its number, and one record of every entity besides."""
    world.accounts = [
        account(MATCHED, "Matched", location(1, "HQ"), location(2, "Closed", isActive=False), location(3, "Left out")),
        account(INACTIVE, "Inactive", location(10, "HQ")) | {"isActive": False},
        account(VENDOR, "Vendor") | {"accountTypeId": VENDOR_TYPE},
        account(NO_TYPE, "No type") | {"accountTypeId": None},
        account(UNKNOWN_TYPE, "Unknown type") | {"accountTypeId": 99},
        account(EXCLUDED, "Excluded"),
        account(NEW, "New"),
        account(TWIN, "Twin"),
        account(OTHER_TWIN, "TWIN"),
    ]
    world.contacts = [contact(each, each, "Ann", "Lee") for each in range(1, NOT_LISTED + 1)]
    world.contacts += [contact(11, MATCHED, "Bob", "Ray", isActive=False) | {"isActive": False}]
    world.employees = [employee(1, "Ann", "Lee"), employee(2, "Bob", "Ray") | {"isActive": False}]
    world.assets = [asset(1, MATCHED, "PC"), asset(2, MATCHED, "Old PC") | {"isActive": False}, asset(3, NEW, "PC")]
    names = ("Matched", "Inactive", "Vendor", "No type", "Unknown type", "Excluded")
    world.passportal_holds(
        clients=[in_passportal(f"C{n}", name) for n, name in enumerate(names, start=1)],
        users=[in_passportal("U1", "Ann Lee"), in_passportal("U2", "Bob Ray")],
    )
    world.exclude("clients", EXCLUDED)
    world.exclude("locations", 3)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with opened_world(tmp_path_factory.mktemp("scope"), entities=AS_HELD) as world:
        fill(world)
        world.reconcile()
        yield world


@pytest.fixture(scope="module")
def decided(world: World) -> dict[str, dict[int, Decided]]:
    """What was decided without any restriction: entity → BMS id → decision."""
    return {each.name: world.decisions(each.name) for each in ENTITIES}


@pytest.mark.parametrize(
    ("bms_id", "disposition", "reason"),
    [
        (MATCHED, "matched", "identical_name"),
        (INACTIVE, "out_of_scope", "inactive"),
        (VENDOR, "out_of_scope", "vendor"),
        (NO_TYPE, "out_of_scope", "account_type"),
        (UNKNOWN_TYPE, "out_of_scope", "account_type"),
        (EXCLUDED, "excluded", "excluded_by_person"),
        (NEW, "unmatched", "waits_for_decision"),
        (TWIN, "ambiguous", "several_in_bms"),
    ],
)
def test_an_account(decided: dict[str, dict[int, Decided]], bms_id: int, disposition: str, reason: str) -> None:
    found = decided["clients"][bms_id]
    assert (found.disposition, found.reason) == (disposition, reason)
    assert (found.passportal_id is not None) == (disposition == "matched")


@pytest.mark.parametrize(
    ("account_id", "disposition", "reason"),
    [
        (MATCHED, "to_create", "not_in_passportal"),
        (INACTIVE, "out_of_scope", "client_out_of_scope"),
        (VENDOR, "out_of_scope", "client_out_of_scope"),
        (EXCLUDED, "blocked", "client_excluded"),
        (NEW, "blocked", "client_unmatched"),
        (TWIN, "blocked", "client_ambiguous"),
        (NOT_LISTED, "blocked", "client_not_listed"),
    ],
)
def test_a_contact_goes_where_its_client_goes(
    decided: dict[str, dict[int, Decided]], account_id: int, disposition: str, reason: str
) -> None:
    assert decided["contacts"][account_id] == (disposition, reason, None)


@pytest.mark.parametrize(
    ("entity", "bms_id", "disposition", "reason"),
    [
        ("users", 1, "matched", "identical_name"),
        ("users", 2, "out_of_scope", "inactive"),
        ("contacts", 11, "out_of_scope", "inactive"),
        ("locations", 2, "out_of_scope", "inactive"),
        ("locations", 3, "excluded", "excluded_by_person"),
        ("locations", 10, "out_of_scope", "client_out_of_scope"),
        ("assets", 1, "to_create", "not_in_passportal"),
        ("assets", 2, "out_of_scope", "inactive"),
        ("assets", 3, "blocked", "client_unmatched"),
    ],
)
def test_another_record(
    decided: dict[str, dict[int, Decided]], entity: str, bms_id: int, disposition: str, reason: str
) -> None:
    found = decided[entity][bms_id]
    assert (found.disposition, found.reason) == (disposition, reason)


def test_every_record_has_one_decision(world: World, decided: dict[str, dict[int, Decided]]) -> None:
    for each in ENTITIES:
        assert world.query(f"SELECT count(*), count(DISTINCT bms_id) FROM bms.{each.name}") == world.query(
            f"SELECT count(*), count(DISTINCT bms_id) FROM sync.reconciled_{each.name}"
        )
        assert decided[each.name]


# Restricted to some clients, or some entities


def planned(world: World, scope: Scope) -> dict[str, dict[int, tuple[str, str]]]:
    """What a plan of ``scope`` says: entity → BMS id → disposition and reason."""
    planning.make_plan(world.warehouse, ENTITIES, scope)
    found: dict[str, dict[int, tuple[str, str]]] = {each.name: {} for each in ENTITIES}
    for entity, bms_id, *rest in world.query("SELECT entity, bms_id, disposition, reason FROM sync.operations"):
        found[entity][bms_id] = (rest[0], rest[1])
    return found


def test_a_plan_covers_only_the_chosen_clients_and_what_is_in_them(
    world: World, decided: dict[str, dict[int, Decided]]
) -> None:
    inside = {"clients": {MATCHED}, "contacts": {MATCHED, 11}, "locations": {1, 2, 3}, "assets": {1, 2}}
    whole = planned(world, Scope())
    some = planned(world, Scope(clients=(MATCHED,)))
    for entity, bms_ids in inside.items():
        for bms_id, found in some[entity].items():
            expected = whole[entity][bms_id] if bms_id in bms_ids else ("out_of_scope", "not_selected")
            assert found == expected, (entity, bms_id)
    assert some["users"] == whole["users"], "users are in no client"
    assert {name: world.decisions(name) for name in decided} == decided, "every record is reconciled all the same"


def test_no_client_chosen_is_not_all_of_them(world: World) -> None:
    found = planned(world, Scope(clients=()))
    assert set(found["clients"].values()) == {("out_of_scope", "not_selected")}
    assert set(found["assets"].values()) == {("out_of_scope", "not_selected")}


def test_choosing_one_of_two_twins_does_not_make_it_the_only_one(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Rule 4: whoever restricts a run has not decided which of the two is meant."""
    with opened_world(tmp_path_factory.mktemp("twins"), entities=AS_HELD) as world:
        world.accounts = [account(1, "Twin"), account(2, "Twin"), account(3, "A"), account(4, "B")]
        world.assets = [asset(1, 3, "PC-1", "SN-0001"), asset(2, 4, "PC-2", "SN-0001")]
        world.passportal_holds(
            clients=[in_passportal("C1", "Twin"), in_passportal("C3", "A"), in_passportal("C4", "B")],
            assets=[in_passportal("A1", "Old", "C3", serial_number="SN-0001")],
        )
        world.reconcile()
        for scope in (Scope(), Scope(clients=(1, 3))):
            found = planned(world, scope)
            assert found["clients"][1] == ("ambiguous", "several_in_bms")
            assert found["assets"][1] == ("to_create", "not_in_passportal")


@pytest.mark.parametrize("entity", [each.name for each in ENTITIES])
def test_an_entity_whose_sync_is_off_is_out_of_scope(
    world: World, decided: dict[str, dict[int, Decided]], entity: str
) -> None:
    world.set("sync", ON | {entity: False})
    world.decide()
    assert {each.disposition for each in world.decisions(entity).values()} == {"out_of_scope"}
    assert "sync_is_off" in {each.reason for each in world.decisions(entity).values()}
    for other in ENTITIES:
        if other.name != entity and not (entity == "clients" and other.has_client):
            assert world.decisions(other.name) == decided[other.name]
        elif other.name != entity:
            assert {each.disposition for each in world.decisions(other.name).values()} <= {"out_of_scope", "blocked"}
    world.set("sync", ON)


# Taken back


def test_what_was_blocked_or_excluded_goes_on_by_itself_once_nothing_is_against_it(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with opened_world(tmp_path_factory.mktemp("later"), entities=AS_HELD) as world:
        world.accounts = [account(1, "Acme"), account(2, "Beta")]
        world.contacts = [contact(1, 1, "Ann", "Lee"), contact(2, 2, "Bob", "Ray"), contact(3, 3, "Cat", "Fox")]
        world.passportal_holds(clients=[in_passportal("C2", "Beta")])
        world.exclude("clients", 2)
        world.reconcile()
        assert {n: found.reason for n, found in world.decisions("contacts").items()} == {
            1: "client_unmatched",
            2: "client_excluded",
            3: "client_not_listed",
        }
        world.passportal_holds(clients=[in_passportal("C1", "Acme")])
        world.accounts.append(account(3, "Gamma"))
        world.query("DELETE FROM sync.exclusions")
        world.reconcile(CREATE_ALL)
        assert {found.disposition for found in world.decisions("contacts").values()} == {"to_create"}


# Chosen by name, kept by id


def in_scope(world: World, entity: str) -> list[int]:
    """The records that the settings let in."""
    return sorted(bms_id for bms_id, found in world.decisions(entity).items() if found.disposition != "out_of_scope")


def choose(world: World, **names: str) -> None:
    """A person chooses these by name."""
    deciding.change_settings(world.warehouse, names, "a person")


def types(world: World, *rows: tuple[int, str]) -> None:
    """BMS calls its account types so from now on."""
    services.update_account_types(world.warehouse, [(id_, name, True, False, True) for id_, name in rows])


@pytest.fixture
def two_of_each(tmp_path: Path) -> Iterator[World]:
    """Two accounts of two types, and two assets of two categories."""
    with opened_world(tmp_path / "home", entities=AS_HELD) as world:
        world.accounts = [account(1, "One", accountTypeId=7), account(2, "Two", accountTypeId=8)]
        world.assets = [
            asset(1, 1, "PC", categoryId=4, categoryName="Server"),
            asset(2, 1, "Tab", categoryId=5, categoryName="Tablet"),
        ]
        types(world, (7, "Customer"), (8, "Prospect"))
        world.reconcile()
        yield world


def test_a_renamed_category_stays_in_scope_by_its_id_and_a_person_reads_its_new_name(two_of_each: World) -> None:
    world = two_of_each
    choose(world, asset_categories="server")
    assert in_scope(world, "assets") == [1]
    world.assets[0]["categoryName"] = "Rack"
    world.plan()
    assert in_scope(world, "assets") == [1]
    assert any("BMS calls 'server' 'Rack' now" in text for text in overview(world.warehouse).warnings)


def test_a_renamed_account_type_stays_in_scope_by_its_id(two_of_each: World) -> None:
    world = two_of_each
    choose(world, account_types="Customer")
    types(world, (7, "Kunde"), (8, "Prospect"))
    world.plan()
    assert in_scope(world, "clients") == [1]


def test_the_ids_of_names_chosen_before_anything_was_read_are_noted_with_the_first_readings(tmp_path: Path) -> None:
    with opened_world(tmp_path / "home", entities=AS_HELD) as world:
        choose(world, asset_categories="Server")
        world.accounts = [account(1, "One")]
        world.assets = [asset(1, 1, "PC", categoryId=4, categoryName="Server")]
        world.reconcile()
        world.assets[0]["categoryName"] = "Rack"
        world.reconcile()
        assert in_scope(world, "assets") == [1]


def test_a_chosen_name_that_no_record_has_is_told_in_preview_and_status(two_of_each: World) -> None:
    world = two_of_each
    choose(world, asset_categories="Sever,Server", account_types="Custommer,Customer")
    world.plan()
    told = overview(world.warehouse).warnings
    assert [text.partition(".")[0] for text in told] == [
        "account_types: no account in BMS has 'Custommer'",
        "asset_categories: no asset in BMS has 'Sever'",
    ]
    assert set(told) <= set(figures.status(world.settings, world.warehouse).warnings)


def test_a_service_that_sends_no_ids_is_asked_by_name(two_of_each: World) -> None:
    world = two_of_each
    for row in world.assets:
        row["categoryId"] = None
    choose(world, asset_categories="server")
    world.plan()
    assert in_scope(world, "assets") == [1]


def test_the_id_of_a_category_alone_does_not_ask_for_the_details_again(two_of_each: World) -> None:
    world = two_of_each
    before = world.query("SELECT bms_id, changed_at FROM bms.assets ORDER BY bms_id")
    world.assets[0]["categoryId"] = 99
    world.land()
    assert world.query("SELECT bms_id, changed_at FROM bms.assets ORDER BY bms_id") == before
    assert world.query("SELECT category_id FROM bms.assets WHERE bms_id = 1") == [(99,)]


# Left out by default


def test_vendors_are_left_out_with_a_reason_of_their_own_and_come_in_by_the_name_of_their_type(tmp_path: Path) -> None:
    with opened_world(tmp_path / "home", entities=AS_HELD) as world:
        world.accounts = [account(1, "One"), account(2, "Ingram") | {"accountTypeId": VENDOR_TYPE}]
        world.reconcile()
        assert world.decisions("clients")[2] == ("out_of_scope", "vendor", None)
        choose(world, account_types="Client,Vendor")
        assert in_scope(world, "clients") == [1, 2]


@pytest.mark.parametrize("name", ["Company Vault", "COMPANY  VAULT "])
def test_no_rule_matches_the_company_vault_and_a_person_may(tmp_path: Path, name: str) -> None:
    with opened_world(tmp_path / "home", entities=AS_HELD) as world:
        world.accounts = [account(1, name)]
        world.contacts = [contact(1, 1, "Ann", "Lee")]
        world.passportal_holds(clients=[in_passportal("V", "Company Vault")])
        world.cycle()
        assert world.decisions("clients")[1] == ("unmatched", "company_vault", None)
        assert world.titles("client") == ["Company Vault"], "it is not created a second time either"
        assert world.titles("contact") == []
        world.match("clients", 1, "V")
        world.cycle()
        assert world.titles("contact") == ["Ann Lee"]
        assert world.plan().operations == 0
