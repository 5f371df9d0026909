"""What becomes of a match afterwards: renamed, moved, vanished, gone, found again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bms_pipeline.core.entities import CLIENTS, CONTACTS
from bms_pipeline.core.errors import DecisionsMissing
from bms_pipeline_tests.building import CREATE_ALL, World, account, contact, in_passportal, opened_world


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Two clients with a contact each, all of them loaded: clients C1 and C2, Ann was there before, Bob is new."""
    with opened_world(tmp_path_factory.mktemp("loaded"), entities=(CLIENTS, CONTACTS)) as world:
        world.accounts = [account(1, "Acme"), account(2, "Beta")]
        world.contacts = [contact(1, 1, "Ann", "Lee"), contact(2, 2, "Bob", "Ray")]
        world.passportal_holds(
            clients=[in_passportal("C1", "Acme"), in_passportal("C2", "Beta")],
            contacts=[in_passportal("P1", "Ann Lee", "C1")],
        )
        world.cycle()
        assert people(world) == [("Acme", "Ann Lee", "1"), ("Beta", "Bob Ray", "2")]
    return world


@pytest.fixture
def world(loaded: World, tmp_path: Path) -> Iterator[World]:
    with opened_world(tmp_path / "home", like=loaded) as world:
        yield world


def people(world: World) -> list[tuple[str | None, str, str | None]]:
    """(client, title, marker) of all contacts in Passportal."""
    return sorted((each.client, each.title, each.marker) for each in world.content() if each.type == "contact")


def assert_settled(world: World) -> None:
    """Another sync finds nothing to do and changes nothing."""
    before = world.content()
    assert world.plan(CREATE_ALL).operations == 0
    assert world.content() == before


# Renamed


def test_a_renamed_record_is_updated_and_never_created(world: World) -> None:
    """Rule 2."""
    world.accounts[0] = account(1, "Acme International")
    world.contacts[0] = contact(1, 1, "Ann", "Smith")
    world.plan(CREATE_ALL)
    assert world.operations("clients")[1].changes == {"name": ("Acme", "Acme International")}
    assert world.operations("contacts")[1].operation == "update"
    world.finish()
    assert people(world) == [("Acme International", "Ann Smith", "1"), ("Beta", "Bob Ray", "2")]
    assert_settled(world)


def test_a_record_renamed_to_anothers_name_keeps_its_match(world: World) -> None:
    world.accounts = [account(1, "Beta"), account(2, "Beta")]
    world.plan(CREATE_ALL)
    assert {n: (each.disposition, each.passportal_id) for n, each in world.decisions("clients").items()} == {
        1: ("matched", "C1"),
        2: ("matched", "C2"),
    }
    world.finish()
    assert world.titles("client") == ["Beta", "Beta"]
    assert_settled(world)


def test_two_records_that_swapped_their_names_keep_their_matches(world: World) -> None:
    world.accounts = [account(1, "Beta"), account(2, "Acme")]
    world.cycle()
    assert [(each.title, each.marker) for each in world.content() if each.type == "client"] == [
        ("Acme", "2"),
        ("Beta", "1"),
    ]
    assert people(world) == [("Acme", "Bob Ray", "2"), ("Beta", "Ann Lee", "1")]
    assert_settled(world)


def test_a_new_record_never_takes_a_name_that_is_matched_already(world: World) -> None:
    world.contacts.append(contact(3, 1, "Ann", "Lee"))
    world.cycle()
    assert people(world) == [("Acme", "Ann Lee", "1"), ("Acme", "Ann Lee", "3"), ("Beta", "Bob Ray", "2")]
    assert_settled(world)


@pytest.mark.parametrize("what", ["renamed", "inactive", "excluded", "gone"])
def test_what_is_matched_is_taken_whatever_became_of_its_record_in_bms(world: World, what: str) -> None:
    """Each record has one match on either side, and nobody but a person gives it to another."""
    world.edit_passportal("UPDATE records SET marker = NULL WHERE id = 'P1'")  # a match alone is enough to be taken
    if what == "excluded":
        world.exclude("contacts", 1)
    changed = {
        "renamed": [contact(1, 1, "Zoe", "Orr")],
        "inactive": [contact(1, 1, "Ann", "Lee") | {"isActive": False}],
        "excluded": [contact(1, 1, "Ann", "Lee")],
        "gone": [],
    }
    world.contacts = [*changed[what], contact(2, 2, "Bob", "Ray"), contact(3, 1, "Ann", "Lee")]
    world.reconcile()
    assert world.decisions("contacts")[3] == ("to_create", "not_in_passportal", None)
    assert world.query("SELECT bms_id FROM sync.matches WHERE passportal_id = 'P1'") == [(1,)]


def test_a_record_renamed_in_passportal_stays_matched_and_keeps_that_name(world: World) -> None:
    world.edit_passportal("UPDATE records SET title = 'Annie' WHERE id = 'P1'")
    world.cycle()
    assert people(world)[0] == ("Acme", "Annie", "1")
    assert_settled(world)


# Vanished


def test_a_match_that_vanished_from_passportal_waits_for_a_person(world: World) -> None:
    world.edit_passportal("DELETE FROM records WHERE id = 'P1'")
    world.cycle(CREATE_ALL)
    assert world.decisions("contacts")[1] == ("unmatched", "passportal_record_gone", None)
    assert people(world) == [("Beta", "Bob Ray", "2")], "it is not created again, whoever deleted it meant it"
    world.passportal_holds(contacts=[in_passportal("P9", "Ann Lee", "C1")])
    world.reconcile(CREATE_ALL)
    assert world.decisions("contacts")[1].disposition == "unmatched", "nor matched to another"


def test_what_is_in_a_client_that_vanished_from_passportal_is_blocked(world: World) -> None:
    world.edit_passportal("DELETE FROM records WHERE id = 'C1'")
    world.cycle(CREATE_ALL)
    assert world.decisions("clients")[1].reason == "passportal_record_gone"
    assert world.decisions("contacts")[1] == ("blocked", "client_unmatched", None)
    assert world.titles("client") == ["Beta"]


def test_a_record_that_is_gone_from_bms_stays_in_passportal_as_it_is(world: World) -> None:
    """Rule 5."""
    before = world.content()
    world.accounts, world.contacts = world.accounts[:1], []
    counts = world.cycle()
    assert world.content() == before
    assert counts["clients"]["read"] == 1
    assert world.query("SELECT count(*) FROM sync.matches WHERE entity = 'contacts'") == [(2,)]
    world.accounts, world.contacts = [account(1, "Acme"), account(2, "Beta")], [contact(1, 1, "Ann", "Lee")]
    assert world.cycle()["contacts"]["unchanged"] == 1
    assert world.content() == before


# Moved


def test_a_record_that_moved_is_created_in_its_new_client_and_stays_in_the_old(world: World) -> None:
    """Rule 3: nothing crosses from one client to another."""
    world.contacts[0] = contact(1, 2, "Ann", "Lee")
    world.plan(CREATE_ALL)
    assert world.decisions("contacts")[1] == ("to_create", "moved_to_this_client", None)
    world.finish()
    assert people(world) == [("Acme", "Ann Lee", "1"), ("Beta", "Ann Lee", "1"), ("Beta", "Bob Ray", "2")]
    assert_settled(world)


def test_a_record_that_moved_to_where_its_namesake_is_is_matched_there(world: World) -> None:
    world.passportal_holds(contacts=[in_passportal("P3", "ann lee", "C2")])
    world.contacts[0] = contact(1, 2, "Ann", "Lee")
    world.cycle()
    assert people(world) == [("Acme", "Ann Lee", "1"), ("Beta", "Bob Ray", "2"), ("Beta", "ann lee", "1")]
    assert_settled(world)


def test_a_record_that_moved_to_a_new_client_goes_there_with_it(world: World) -> None:
    world.accounts.append(account(3, "Gamma"))
    world.contacts[0] = contact(1, 3, "Ann", "Lee")
    world.cycle()
    assert people(world) == [("Acme", "Ann Lee", "1"), ("Beta", "Bob Ray", "2"), ("Gamma", "Ann Lee", "1")]
    assert_settled(world)


@pytest.mark.parametrize("back_as", ["Lee", "Smith"], ids=["under its old name", "renamed"])
def test_a_record_that_moved_away_and_back_is_the_one_it_was(world: World, back_as: str) -> None:
    """No BMS id is in one client twice."""
    world.contacts[0] = contact(1, 2, "Ann", "Lee")
    world.cycle()
    world.contacts[0] = contact(1, 1, "Ann", back_as)
    world.cycle()
    assert people(world) == [("Acme", f"Ann {back_as}", "1"), ("Beta", "Ann Lee", "1"), ("Beta", "Bob Ray", "2")]
    assert_settled(world)


def test_a_record_that_comes_back_finds_what_a_person_wrote_meanwhile_as_it_is(world: World) -> None:
    """What BMS changed is written into the document it comes back to, and what a person changed there is kept."""
    world.contacts[0] = contact(1, 1, "Ann", "Lee", jobTitle="Clerk")
    world.cycle()
    world.contacts[0] = contact(1, 2, "Ann", "Lee", jobTitle="Clerk")
    world.cycle()
    world.edit_passportal("UPDATE records SET details = map_concat(details, MAP {'Job Title': 'Head'}) WHERE id = 'P1'")
    world.contacts[0] = contact(1, 1, "Ann", "Smith", jobTitle="Manager")
    world.cycle()
    document = next(each for each in world.content() if each.client == "Acme" and each.type == "contact")
    assert (document.title, document.details["Job Title"]) == ("Ann Smith", "Head")
    assert_settled(world)


def test_what_a_moved_record_left_behind_is_not_given_to_another(world: World) -> None:
    """It bears a marker: a match by name would be refused at every sync."""
    world.contacts[0] = contact(1, 2, "Ann", "Lee")
    world.cycle()
    world.contacts.append(contact(3, 1, "Ann", "Lee"))
    counts = world.cycle()
    assert counts["contacts"]["failed"] == 0
    assert ("Acme", "Ann Lee", "1") in people(world)
    assert_settled(world)


# Found again


@pytest.mark.parametrize("renamed", ["in BMS", "in Passportal", "nowhere"])
def test_a_lost_warehouse_is_found_anew_by_the_markers_in_passportal(world: World, renamed: str) -> None:
    """As `bms-pipeline rebuild` promises; no BMS id is there twice."""
    if renamed == "in BMS":
        world.contacts[1] = contact(2, 2, "Robert", "Ray-Hill")
    elif renamed == "in Passportal":
        world.edit_passportal("UPDATE records SET title = 'Robert Ray-Hill' WHERE marker = '2' AND type = 'contact'")
    with world.warehouse.transaction() as connection:
        for (table,) in connection.execute("SELECT schema_name || '.' || table_name FROM duckdb_tables()").fetchall():
            if table not in ("main.migrations", "bms.account_types"):
                connection.execute(f"TRUNCATE {table}")
    with pytest.raises(DecisionsMissing, match="bms-pipeline rebuild"):
        world.cycle(CREATE_ALL)
    world.set("rebuilt_at", "2026-01-01 00:00:00")
    world.cycle(None)
    assert [(client, marker) for client, _, marker in people(world)] == [("Acme", "1"), ("Beta", "2")]
    assert world.plan().operations == 0


def test_a_marker_tells_apart_what_names_do_not(world: World) -> None:
    world.passportal_holds(contacts=[in_passportal("P9", "Ann Lee", "C1")])
    with world.warehouse.transaction() as connection:
        connection.execute("DELETE FROM sync.matches WHERE entity = 'contacts'")
    world.reconcile()
    assert world.decisions("contacts")[1].passportal_id == "P1"
