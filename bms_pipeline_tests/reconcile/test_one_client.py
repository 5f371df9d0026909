"""One client first: what a reading of one client alone may decide, and what it never decides."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bms_pipeline.core.entities import CONTACTS, CONTACTS_LIST
from bms_pipeline.core.errors import DecisionRefused, PlanWaits
from bms_pipeline.load import apply
from bms_pipeline.plan import standings
from bms_pipeline.reconcile.matching import Scope
from bms_pipeline.sync import extraction, planning
from bms_pipeline_tests.building import (
    CREATE_ALL,
    Row,
    Stored,
    World,
    account,
    asset,
    contact,
    in_passportal,
    location,
    opened_world,
)
from bms_pipeline_tests.exploring import examples

ACME, BETA = 1, 2


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Two clients that Passportal has, too; nothing was read so far."""
    with opened_world(tmp_path / "home") as world:
        world.accounts = [account(ACME, "Acme", location(1, "HQ")), account(BETA, "Beta", location(2, "HQ"))]
        world.contacts = [contact(1, ACME, "Ann", "Lee"), contact(2, BETA, "Bob", "Ray")]
        world.assets = [asset(1, ACME, "PC", "SN-1111"), asset(2, BETA, "PC", "SN-2222")]
        world.passportal_holds(
            clients=[in_passportal("C1", "Acme"), in_passportal("C2", "Beta")],
            assets=[in_passportal("A1", "Old name", "C1", serial_number="SN-1111")],
        )
        yield world


def gone(world: World) -> list[tuple[object, ...]]:
    """Every record that counts as gone from BMS."""
    return [
        (entity, *row)
        for entity in ("clients", "locations", "contacts", "assets")
        for row in world.query(f"SELECT bms_id FROM bms.{entity} WHERE missing_since IS NOT NULL")
    ]


def import_client(world: World, client: int, passportal_id: str) -> None:
    """A person links the client, reads it alone and finishes the plan."""
    world.plan_client(client)
    world.match("clients", client, passportal_id)
    world.plan_client(client)
    world.finish()


# Before all accounts were read


def test_a_client_waits_for_a_person_until_all_accounts_were_read(world: World) -> None:
    plan = world.plan_client(ACME)
    assert plan.operations == 0
    assert world.decisions("clients") == {ACME: ("unmatched", "accounts_not_all_read", None)}
    assert world.decisions("assets") == {1: ("blocked", "client_unmatched", None)}
    world.plan()
    assert world.decisions("clients")[ACME] == ("matched", "identical_name", "C1")


def test_the_same_records_decide_otherwise_once_the_whole_list_was_read(tmp_path: Path) -> None:
    """Also where the whole list brings nothing new."""
    with opened_world(tmp_path / "home") as world:
        world.accounts = [account(ACME, "Acme")]
        world.passportal_holds(clients=[in_passportal("C1", "Acme")])
        world.plan_client(ACME)
        world.plan()
        assert world.decisions("clients") == {ACME: ("matched", "identical_name", "C1")}


@pytest.mark.parametrize("how", ["match", "create"])
def test_a_persons_match_or_create_links_it(world: World, how: str) -> None:
    world.plan_client(ACME)
    if how == "match":
        world.match("clients", ACME, "C1")
    else:
        world.create("clients", ACME, allow_duplicate=True)
    world.plan_client(ACME)
    with pytest.raises(PlanWaits):
        apply.check_approved(world.warehouse)
    world.finish()
    assert world.titles("client") == ["Acme", "Acme", "Beta"] if how == "create" else ["Acme", "Beta"]
    assert world.titles("contact") == ["Ann Lee"]
    assert world.plan_client(ACME).operations == 0


def test_a_create_next_to_a_client_of_its_name_is_refused_with_the_true_cause(world: World) -> None:
    world.plan_client(ACME)
    with pytest.raises(DecisionRefused, match=r"Passportal has one of its name .*--allow-duplicate"):
        world.create("clients", ACME)


def test_our_own_marker_links_it(world: World) -> None:
    world.edit_passportal("UPDATE records SET marker = ? WHERE id = 'C1'", str(ACME))
    world.query("INSERT INTO sync.settings VALUES ('restored_at', '\"2026-01-01\"', now())")
    world.plan_client(ACME)
    assert world.decisions("clients")[ACME].reason == "bms_marker"


def test_a_client_that_a_person_imports_from_our_file_is_adopted_by_its_name(world: World) -> None:
    world.plan_client(ACME)
    world.query(
        "INSERT INTO sync.pending_imports (entity, bms_id, name, handed_over_at) VALUES ('clients', 1, 'Acme', now())"
    )
    world.plan_client(ACME)
    assert world.decisions("clients")[ACME] == ("matched", "identical_name", "C1")


def test_a_serial_number_decides_inside_the_client_alone(world: World) -> None:
    world.plan_client(ACME)
    world.match("clients", ACME, "C1")
    world.plan_client(ACME)
    assert world.decisions("assets")[1] == ("matched", "identical_serial", "A1")


@pytest.mark.parametrize("side", ["BMS", "Passportal"])
def test_a_serial_number_that_another_client_has_too_waits(world: World, side: str) -> None:
    if side == "BMS":
        world.assets[1]["serialNumber"] = "SN-1111"
        world.plan_client(BETA)
    else:
        world.passportal_holds(assets=[in_passportal("A2", "PC", "C2", serial_number="sn 1111")])
    world.plan_client(ACME)
    world.match("clients", ACME, "C1")
    world.plan_client(ACME)
    assert world.decisions("assets")[1] == ("unmatched", "serial_in_another_client", None)
    world.match("assets", 1, "A1")
    world.plan_client(ACME)
    assert world.decisions("assets")[1][::2] == ("matched", "A1")


def test_two_of_one_serial_number_inside_the_client_are_not_matched_by_it(world: World) -> None:
    world.assets.append(asset(3, ACME, "Another", "SN-1111"))
    world.plan_client(ACME)
    world.match("clients", ACME, "C1")
    world.plan_client(ACME)
    assert {found.reason for found in world.decisions("assets").values()}.isdisjoint({"identical_serial"})


def test_a_placeholder_that_another_client_has_too_makes_nobody_wait(world: World) -> None:
    world.assets[0]["serialNumber"] = "To be filled by O.E.M."
    world.passportal_holds(assets=[in_passportal("A2", "PC", "C2", serial_number="To be filled by O.E.M.")])
    world.plan_client(ACME)
    world.match("clients", ACME, "C1")
    world.plan_client(ACME)
    assert world.decisions("assets")[1].reason == "not_in_passportal"


# What it proves


def test_it_never_makes_another_clients_record_gone(world: World) -> None:
    world.cycle()
    world.contacts = []
    world.plan_client(ACME)
    assert gone(world) == []
    assert world.decisions("contacts")[1][:2] == ("out_of_scope", "left_its_client")
    assert world.decisions("contacts")[2][:2] == ("matched", "match")
    with world.warehouse.open() as connection:
        story = standings.story(connection, CONTACTS, 1)
    assert story is not None
    assert (story.standing, story.next_step) == ("out of scope", "sync")
    world.plan()
    assert gone(world) == [("contacts", 1), ("contacts", 2)], "the whole list proves it"


def test_a_record_that_moved_away_is_neither_orphaned_nor_doubled(world: World) -> None:
    world.cycle()
    world.contacts[0]["accountId"] = BETA
    world.plan_client(ACME)
    assert gone(world) == []
    assert planning.current_plan(world.warehouse).operations == 0
    world.plan_client(BETA)
    assert world.operations("contacts")[1][:2] == ("create", "moved_to_this_client"), "as a full sync decides"
    world.finish()
    assert world.titles("contact") == ["Ann Lee", "Ann Lee", "Bob Ray"]
    assert world.plan().operations == 0
    assert gone(world) == []


def test_a_record_that_came_back_counts_again(world: World) -> None:
    world.cycle()
    kept, world.contacts = world.contacts, []
    world.plan_client(ACME)
    world.contacts = kept
    assert world.plan_client(ACME).operations == 0
    assert world.decisions("contacts")[1] == ("matched", "match", world.decisions("contacts")[1].passportal_id)


def test_a_reading_without_a_provable_end_concludes_nothing_and_leaves_creates_to_a_person(world: World) -> None:
    world.cycle()
    world.contacts = [contact(3, ACME, "New", "One")]
    plan = world.plan_client(ACME, complete=False)
    assert world.query("SELECT count(*) FROM bms.contacts WHERE left_client_since IS NOT NULL") == [(0,)]
    assert (plan.operations, plan.unproved) == (1, 1)
    assert world.plan_client(ACME).unproved == 0


def test_it_is_never_taken_for_the_sweep_of_a_whole_list(world: World) -> None:
    world.plan_client(ACME)
    assert world.query("SELECT DISTINCT mode, client FROM sync.sweeps") == [("client", ACME)]
    world.plan()
    stamp = "SELECT arg_max(landed_at, landed_at) FROM sync.sweeps WHERE list_call = 'contacts' AND mode = 'full'"
    before = world.query(stamp)
    world.plan_client(BETA)
    assert world.query(stamp) == before


def test_it_moves_no_watermark(world: World) -> None:
    stamps = {"modifiedOn": "2026-01-05T00:00:00"}
    world.contacts = [row | stamps for row in world.contacts]
    world.land()
    before = extraction._watermark(world.warehouse, CONTACTS_LIST)
    assert before == "2026-01-04T00:00:00"
    world.contacts[0] |= {"modifiedOn": "2026-03-01T00:00:00", "jobTitle": "Boss"}
    world.land_client(ACME)
    assert world.query("SELECT job_title FROM bms.contacts WHERE bms_id = 1") == [("Boss",)]
    assert extraction._watermark(world.warehouse, CONTACTS_LIST) == before


def test_the_rows_of_the_client_are_the_fresh_ones_after_a_full_sweep(world: World) -> None:
    world.cycle()
    world.contacts[0]["jobTitle"] = "Boss"
    world.contacts[1]["jobTitle"] = "Boss"
    assert world.plan_client(ACME).operations == 1
    assert world.operations("contacts")[1].changes == {"job_title": (None, "Boss")}
    assert world.operations("contacts")[2].reason == "not_selected"


def test_twice_in_a_row_plans_nothing(world: World) -> None:
    import_client(world, ACME, "C1")
    assert world.plan_client(ACME).operations == 0
    assert world.plan_client(ACME).operations == 0


def test_a_full_sync_after_it_plans_no_duplicate_and_decides_the_same(world: World) -> None:
    import_client(world, ACME, "C1")
    matches = world.query("SELECT entity, bms_id, passportal_id FROM sync.matches")
    world.cycle()
    assert set(matches) <= set(world.query("SELECT entity, bms_id, passportal_id FROM sync.matches"))
    assert world.titles("contact") == ["Ann Lee", "Bob Ray"]
    assert world.plan().operations == 0


# Any order of readings


@dataclass
class Tenant:
    """Both sides; serial numbers are unique in BMS, names are not. ``steps``: the clients read alone, 0 for all."""

    accounts: list[Row]
    contacts: list[Row]
    assets: list[Row]
    held: dict[str, list[Row]] = field(default_factory=dict)
    steps: list[int] = field(default_factory=list)


NAMES = ("Ann Lee", "ann  LEE", "Bob Ray", "Zoë Fox")


@st.composite
def tenants(draw: st.DrawFn) -> Tenant:
    """Any tenant of up to three clients, each of which Passportal has, and any order of readings."""
    ids = range(1, draw(st.integers(2, 3)) + 1)
    where = st.sampled_from(ids)
    place = st.sampled_from(["HQ", "hq ", "Depot"])
    found = Tenant(
        accounts=[account(n, f"Client {n}", location(n, draw(place))) for n in ids],
        contacts=[
            contact(n, draw(where), *draw(st.sampled_from(NAMES)).partition(" ")[::2])
            for n in range(1, draw(st.integers(1, 5)))
        ],
        assets=[
            asset(n, draw(where), draw(st.sampled_from(NAMES)), draw(st.sampled_from([None, f"SN-{n}{n}{n}{n}"])))
            for n in range(1, draw(st.integers(1, 5)))
        ],
        steps=draw(st.lists(st.sampled_from([0, *ids]), max_size=4)),
    )
    inside = st.sampled_from([f"C{n}" for n in ids])
    found.held = {
        "clients": [in_passportal(f"C{n}", f"Client {n}") for n in ids],
        "contacts": [
            in_passportal(f"P{n}", draw(st.sampled_from(NAMES)), draw(inside)) for n in range(draw(st.integers(0, 3)))
        ],
        "assets": [
            in_passportal(f"A{n}", draw(st.sampled_from(NAMES)), draw(inside), serial_number=serial)
            for n, serial in enumerate(draw(st.lists(st.sampled_from(["SN-1111", "SN-2222", "SN-3333"]), unique=True)))
        ],
    }
    return found


def enter(world: World, tenant: Tenant) -> None:
    world.accounts, world.contacts, world.assets = tenant.accounts, tenant.contacts, tenant.assets
    world.passportal_holds(**{name: rows for name, rows in tenant.held.items() if rows})


def read_alone(world: World, client: int) -> None:
    """A person links the client where that is left to one, and finishes the plan of this client."""
    world.plan_client(client)
    if world.decisions("clients")[client].reason == "accounts_not_all_read":
        world.match("clients", client, f"C{client}")
        world.plan_client(client)
    world.finish()


def lasting(world: World) -> tuple[object, list[Stored]]:
    """All matches, and all that Passportal holds."""
    return world.query("SELECT entity, bms_id, passportal_id FROM sync.matches ORDER BY ALL"), world.content()


def named(found: tuple[object, list[Stored]], world: World) -> object:
    """The matches by what the Passportal record says, because the ids of created ones follow from their order."""
    rows = [
        (entity, *row)
        for entity in ("clients", "locations", "contacts", "assets")
        for row in world.query(
            f"SELECT m.bms_id, p.name, p.client_id, p.bms_id FROM sync.matches m"
            f" JOIN passportal.{entity} p USING (passportal_id) WHERE m.entity = '{entity}' ORDER BY ALL"
        )
    ]
    return rows, found[1]


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A new folder for each world."""
    return (tmp_path_factory.mktemp("world") for _ in itertools.count())


@examples(4, 120)
@given(tenants())
def test_readings_of_one_client_in_any_order_end_as_full_syncs_alone(homes: Iterator[Path], tenant: Tenant) -> None:
    with opened_world(next(homes)) as world:
        enter(world, tenant)
        world.cycle(CREATE_ALL)
        assert world.plan(Scope()).operations == 0
        expected = named(lasting(world), world)
    with opened_world(next(homes)) as world:
        enter(world, tenant)
        for step in tenant.steps:
            world.cycle(CREATE_ALL) if step == 0 else read_alone(world, step)
        world.cycle(CREATE_ALL)
        assert world.plan(Scope()).operations == 0
        assert named(lasting(world), world) == expected
