"""What Passportal refuses is told and counted, and everything else goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bms_pipeline.core.entities import CLIENTS, CONTACTS
from bms_pipeline.load import apply
from bms_pipeline_tests.building import CREATE_ALL, World, account, contact, in_passportal, opened_world
from bms_pipeline_tests.load.disturbing import Passing, Refusing


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> World:
    """One client and three contacts, loaded."""
    with opened_world(tmp_path_factory.mktemp("loaded"), entities=(CLIENTS, CONTACTS)) as world:
        world.accounts = [account(1, "Acme")]
        world.contacts = [contact(n, 1, "Person", str(n), jobTitle="a") for n in (1, 2, 3)]
        world.passportal_holds(clients=[in_passportal("C1", "Acme")])
        world.cycle()
    return world


@pytest.fixture
def approved(loaded: World, tmp_path: Path) -> Iterator[World]:
    """Two of them have another job title by now, and the plan that says so is approved."""
    with opened_world(tmp_path / "home", like=loaded) as world:
        world.contacts = [contact(n, 1, "Person", str(n), jobTitle="b" if n < 3 else "a") for n in (1, 2, 3)]
        plan = world.plan()
        assert plan.operations == 2
        world.approve(plan.hash)
        yield world


def refused(world: World) -> dict[int, str]:
    """BMS id → why, as the journal has it."""
    return dict(world.query("SELECT bms_id, detail FROM sync.journal WHERE outcome = 'refused' ORDER BY bms_id"))


def job_titles(world: World) -> dict[str | None, str | None]:
    """Marker → job title of contacts."""
    return {each.marker: each.details.get("Job Title") for each in world.content() if each.type == "contact"}


def test_a_record_that_changed_since_the_plan_is_refused_as_stale_and_the_others_go_on(approved: World) -> None:
    edit = "UPDATE records SET details = map_concat(details, MAP {'Job Title': 'edited'})"
    approved.edit_passportal(f"{edit} WHERE marker = '1' AND type = 'contact'")
    counts = approved.load()["contacts"]
    assert (counts["updated"], counts["failed"], counts["unchanged"]) == (1, 1, 1)
    assert refused(approved) == {1: "stale: changed meanwhile: Job Title"}
    assert job_titles(approved) == {"1": "edited", "2": "b", "3": "a"}
    assert approved.plan().operations == 0, "the edit is kept and told as a conflict"
    assert approved.operations("contacts")[1].kept == {"job_title": ("b", "edited")}


def test_a_record_that_vanished_since_the_plan_is_refused_and_the_others_go_on(approved: World) -> None:
    approved.edit_passportal("DELETE FROM records WHERE marker = '1' AND type = 'contact'")
    counts = approved.load()["contacts"]
    assert (counts["updated"], counts["failed"]) == (1, 1)
    assert refused(approved) == {1: "the record is gone from Passportal"}


def test_a_record_that_bears_anothers_marker_is_refused(approved: World) -> None:
    approved.edit_passportal("UPDATE records SET marker = '99' WHERE marker = '1' AND type = 'contact'")
    assert approved.load()["contacts"]["failed"] == 1
    assert refused(approved) == {1: "it bears the marker of BMS id 99"}


def test_what_was_refused_is_planned_again(approved: World) -> None:
    approved.edit_passportal("UPDATE records SET marker = '99' WHERE marker = '1' AND type = 'contact'")
    approved.load()
    approved.edit_passportal("UPDATE records SET marker = '1' WHERE marker = '99'")
    assert approved.cycle()["contacts"]["updated"] == 1
    assert job_titles(approved) == {"1": "b", "2": "b", "3": "a"}


def test_what_belongs_in_a_client_that_could_not_be_created_is_refused_and_goes_on_with_it_later(world: World) -> None:
    world.entities = (CLIENTS, CONTACTS)
    world.accounts = [account(1, "Acme"), account(2, "Beta")]
    world.contacts = [contact(1, 1, "Ann", "Lee"), contact(2, 2, "Bob", "Ray")]
    counts = world.cycle(CREATE_ALL, Refusing(world.passportal, "clients", 1))
    assert (counts["clients"]["created"], counts["clients"]["failed"]) == (1, 1)
    assert (counts["contacts"]["created"], counts["contacts"]["failed"]) == (1, 1)
    assert world.query("SELECT entity, bms_id, detail FROM sync.journal WHERE outcome = 'refused' ORDER BY 1") == [
        ("clients", 1, "the service says no"),
        ("contacts", 1, "its client is not linked in Passportal"),
    ]
    assert world.titles("contact") == ["Bob Ray"]
    counts = world.cycle(CREATE_ALL)
    assert (counts["clients"]["created"], counts["contacts"]["created"]) == (1, 1)
    assert world.titles("contact") == ["Ann Lee", "Bob Ray"]


def test_the_load_of_an_entity_says_what_was_done_and_refused(approved: World) -> None:
    approved.edit_passportal("UPDATE records SET marker = '99' WHERE marker = '1' AND type = 'contact'")
    plan = apply.check_approved(approved.warehouse)
    seen: list[tuple[int, int]] = []
    loaded = apply.load_entity(
        approved.warehouse,
        Passing(approved.passportal, batch_size=1),
        CONTACTS,
        plan,
        on_progress=lambda done, total: seen.append((done, total)),
    )
    assert loaded == apply.Loaded(done=1, refused=1)
    assert seen == sorted(seen)
    assert list(dict.fromkeys(seen))[-2:] == [(1, 2), (2, 2)]
