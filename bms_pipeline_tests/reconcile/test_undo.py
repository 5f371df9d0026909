"""Taking back a load: what it wrote is put back, what changed since is left alone, and no rule does it again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bms_pipeline.core.entities import CLIENTS, CONTACTS
from bms_pipeline.core.errors import PlanError, PlanWaits
from bms_pipeline.reports import figures
from bms_pipeline.sync import deciding
from bms_pipeline_tests.building import World, account, contact, in_passportal, opened_world


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Loaded once: Ann was adopted and got a job title, Bob was created."""
    with opened_world(tmp_path_factory.mktemp("loaded"), entities=(CLIENTS, CONTACTS)) as world:
        world.accounts = [account(1, "Acme")]
        world.contacts = [contact(1, 1, "Ann", "Lee", jobTitle="Clerk"), contact(2, 1, "Bob", "Ray", jobTitle="Cook")]
        world.passportal_holds(
            clients=[in_passportal("A", "Acme")],
            contacts=[in_passportal("ann", "Ann Lee", "A", mobile_phone="123")],
        )
        world.cycle()
    return world


@pytest.fixture
def world(loaded: World, tmp_path: Path) -> Iterator[World]:
    with opened_world(tmp_path / "home", like=loaded) as world:
        yield world


def details(world: World, title: str) -> tuple[str | None, dict[str, str]]:
    """Marker and values of one contact."""
    (found,) = [each for each in world.content() if each.type == "contact" and each.title == title]
    return found.marker, found.details


def last_load(world: World) -> int:
    return int(figures.loads(world.warehouse)[0]["plan_id"])


def test_an_update_is_put_back_and_not_done_again_until_bms_changes(world: World) -> None:
    world.contacts[0]["jobTitle"] = "Chief"
    world.cycle()
    plan = deciding.plan_undo(world.warehouse, last_load(world))
    assert plan.operations == 1
    with pytest.raises(PlanWaits, match="takes back the load"):
        world.load()
    world.finish()
    assert details(world, "Ann Lee")[1]["Job Title"] == "Clerk"
    assert world.plan().operations == 0
    assert world.operations("contacts")[1].kept == {"job_title": ("Chief", "Clerk")}
    world.contacts[0]["jobTitle"] = "Chair"
    world.cycle()
    assert details(world, "Ann Lee")[1]["Job Title"] == "Chair"


def test_an_adoption_is_undone_and_what_it_filled_is_blank_again(world: World) -> None:
    plan = deciding.plan_undo(world.warehouse, last_load(world))
    shown = figures.undo_preview(world.warehouse, plan)
    assert (shown["operations"], shown["created"]) == (2, 1), "the client and Ann; Bob's record stays"
    world.finish()
    marker, values = details(world, "Ann Lee")
    assert marker is None
    assert "Job Title" not in values
    assert values["Mobile Phone"] == "123"
    assert details(world, "Bob Ray")[0] == "2"
    assert world.plan().operations == 0
    assert world.decisions("clients")[1].reason == "unmatched_by_person"


def test_a_field_that_changed_since_is_left_alone_and_listed(world: World) -> None:
    world.contacts[0]["jobTitle"], world.contacts[0]["isPoc"] = "Chief", True
    world.cycle()
    world.edit_passportal(
        "UPDATE records SET details = map_concat(details, MAP {'Job Title': 'Queen'}) WHERE id = 'ann'"
    )
    world.reconcile()
    deciding.plan_undo(world.warehouse, last_load(world))
    operation = world.operations("contacts")[1]
    assert operation.changes == {"primary_contact": ("Yes", "No")}
    assert operation.kept == {"job_title": ("Clerk", "Queen")}
    world.finish()
    assert details(world, "Ann Lee")[1]["Job Title"] == "Queen"


def test_an_adoption_undone_can_be_matched_again(world: World) -> None:
    deciding.plan_undo(world.warehouse, last_load(world))
    world.finish()
    world.reconcile()
    world.match("clients", 1, "A")
    world.match("contacts", 1, "ann")
    world.cycle()
    assert details(world, "Ann Lee")[0] == "1"
    assert details(world, "Ann Lee")[1]["Job Title"] == "Clerk"
    assert world.plan().operations == 0


def test_what_was_never_loaded_and_an_undo_itself_cannot_be_taken_back(world: World) -> None:
    with pytest.raises(PlanError, match="Nothing was loaded by plan 99"):
        deciding.plan_undo(world.warehouse, 99)
    deciding.plan_undo(world.warehouse, last_load(world))
    world.finish()
    with pytest.raises(PlanError, match="took back plan"):
        deciding.plan_undo(world.warehouse, last_load(world))
