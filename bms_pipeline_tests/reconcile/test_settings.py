"""Settings that people revisit: what they do, that they can be tried, that they lose nothing when switched back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bms_pipeline.core.entities import CLIENTS, CONTACTS
from bms_pipeline.core.errors import SettingsError
from bms_pipeline.reports import figures
from bms_pipeline.sync import deciding
from bms_pipeline_tests.building import World, account, asset, contact, employee, in_passportal, opened_world


@pytest.fixture(scope="module")
def reconciled(tmp_path_factory: pytest.TempPathFactory) -> World:
    with opened_world(tmp_path_factory.mktemp("reconciled")) as world:
        world.accounts = [account(1, "Acme"), account(2, "Beta"), account(3, "Asleep") | {"isActive": False}]
        world.accounts.append(account(4, "A vendor") | {"accountTypeId": 2})
        world.employees = [employee(1, "Uma", "One")]
        world.contacts = [contact(1, 1, "Ann", "Lee", jobTitle="Clerk")]
        world.assets = [asset(1, 1, "PC-1", categoryName="Server"), asset(2, 1, "PC-2", categoryName="Phone")]
        world.passportal_holds(
            clients=[in_passportal("A", "Acme"), in_passportal("B", "BETA")],
            contacts=[in_passportal("ann", "Ann Lee", "A")],
        )
        world.reconcile()
    return world


@pytest.fixture
def world(reconciled: World, tmp_path: Path) -> Iterator[World]:
    with opened_world(tmp_path / "home", like=reconciled) as world:
        yield world


def change(world: World, **wanted: str) -> deciding.ChangedSettings:
    named = {name.replace("__", "."): value for name, value in wanted.items()}
    return deciding.change_settings(world.warehouse, named, "a person")


def scope(world: World, entity: str) -> dict[int, str]:
    return {
        bms_id: each.reason for bms_id, each in world.decisions(entity).items() if each.disposition == "out_of_scope"
    }


def test_a_filter_can_be_tried_before_it_is_stored(world: World) -> None:
    dry_run = deciding.change_settings(world.warehouse, {"asset_categories": "server"}, "a person", dry_run=True)
    (assets,) = [each for each in dry_run.scope if each.entity == "assets"]
    assert (assets.records_in, assets.records_out, assets.kept_out_because) == (1, 1, {"category": 1})
    assert [each.examples for each in dry_run.records] == [("2 PC-2",)]
    assert scope(world, "assets") == {}
    change(world, asset_categories="server")
    assert scope(world, "assets") == {2: "category"}


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"active_only": "off"}, {4: "vendor"}),
        ({"account_types": "Client, vendor"}, {3: "inactive"}),
        ({"account_types": "vendor"}, {1: "account_type", 2: "account_type", 3: "inactive"}),
        ({"clients": "2"}, {1: "client_not_chosen", 3: "inactive", 4: "vendor"}),
        ({"sync__clients": "off"}, dict.fromkeys(range(1, 5), "sync_is_off")),
    ],
    ids=str,
)
def test_what_is_in_scope(world: World, wanted: dict[str, str], expected: dict[int, str]) -> None:
    change(world, **wanted)
    assert scope(world, "clients") == expected
    change(world, **dict.fromkeys(wanted, "on" if "sync__clients" in wanted or "active_only" in wanted else "all"))
    assert scope(world, "clients") == {3: "inactive", 4: "vendor"}


def test_exact_names_are_stricter_and_nothing_is_created_beside(world: World) -> None:
    change(world, identical_names="exact")
    assert world.decisions("clients")[1].disposition == "matched"
    assert world.decisions("clients")[2].disposition == "ambiguous"


def test_auto_create_can_only_be_on_while_its_sync_is_on(world: World) -> None:
    with pytest.raises(SettingsError, match=r"auto_create\.users can only be on while sync\.users is on"):
        change(world, sync__users="off", auto_create__users="on")
    change(world, auto_create__users="on")
    change(world, sync__users="off")
    assert figures.sync_settings(world.warehouse)["auto_create.users"] is False
    change(world, sync__users="on")
    assert figures.sync_settings(world.warehouse)["auto_create.users"] is True, "what was chosen comes back"


def test_a_toggle_switched_off_and_on_again_loses_nothing_and_doubles_nothing(world: World) -> None:
    world.entities = (CLIENTS, CONTACTS)
    world.cycle()
    world.unmatch("contacts", 1)
    before, content = world.lasting(), world.titles("contact")
    for entity in ("clients", "contacts"):
        change(world, **{f"sync__{entity}": "off"})
        world.cycle()
        change(world, **{f"sync__{entity}": "on"})
    world.cycle()
    assert world.lasting() == before
    assert world.titles("contact") == content
    assert world.plan().operations == 0


def test_the_history_tells_who_changed_what(world: World) -> None:
    change(world, owner__contacts__phone="bms_wins")
    change(world, owner__contacts__phone="last_edit")
    rows = figures.settings_history(world.warehouse)
    assert [(each["name"], each["before"], each["after"], each["changed_by"]) for each in rows] == [
        ("owner.contacts.phone", '"bms_wins"', '"last_edit"', "a person"),
        ("owner.contacts.phone", '"last_edit"', '"bms_wins"', "a person"),
    ]


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"sync.people": "on"}, "There is no setting 'sync.people'"),
        ({"owner.contacts.shoe_size": "bms_wins"}, "There is no setting"),
        ({"owner.contacts.phone": "me"}, "is one of last_edit, bms_wins"),
        ({"active_only": "perhaps"}, "is on or off"),
        ({"clients": "1,x"}, "'x' is no BMS account id"),
        ({"update_share": "20"}, "a share between 0 and 1"),
    ],
    ids=str,
)
def test_mistakes_are_told_and_nothing_is_stored(world: World, wanted: dict[str, str], told: str) -> None:
    before = figures.sync_settings(world.warehouse)
    with pytest.raises(SettingsError, match=told):
        deciding.change_settings(world.warehouse, {"active_only": "off", **wanted}, "a person")
    assert figures.sync_settings(world.warehouse) == before


@pytest.fixture(scope="module")
def clerks(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Three contacts of one job title, loaded."""
    with opened_world(tmp_path_factory.mktemp("clerks"), entities=(CLIENTS, CONTACTS)) as world:
        world.accounts = [account(1, "Acme")]
        world.contacts = [contact(n, 1, "Person", str(n), jobTitle="Clerk") for n in (1, 2, 3)]
        world.cycle()
    return world


@pytest.mark.parametrize(
    ("owner", "edited", "untouched", "empty"),
    [
        ("last_edit", "Queen", "Chief", "Chief"),
        ("bms_wins", "Chief", "Chief", "Chief"),
        ("passportal_wins", "Queen", "Clerk", None),
        ("fill_if_empty", "Queen", "Clerk", "Chief"),
    ],
)
def test_who_owns_a_field(
    clerks: World, tmp_path: Path, owner: str, edited: str, untouched: str, empty: str | None
) -> None:
    """BMS changes a job title; in Passportal a person edited it, left it alone, or blanked it."""
    titled = "UPDATE records SET details = map_concat(details, MAP {'Job Title': ?}) WHERE title = ?"
    with opened_world(tmp_path / "home", like=clerks) as world:
        change(world, owner__contacts__job_title=owner)
        world.edit_passportal(titled, "Queen", "Person 1")
        for each in world.contacts:
            each["jobTitle"] = "Chief"
        if owner != "last_edit":  # there, blanking is an edit like any other, and kept
            world.edit_passportal(titled, "", "Person 3")
        world.cycle()
        found = {each.title: each.details.get("Job Title") or None for each in world.content()}
        assert (found["Person 1"], found["Person 2"], found["Person 3"]) == (edited, untouched, empty)
        assert world.plan().operations == 0
