"""A plan is loaded as it was shown, or refused with the list of what moved since."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bms_pipeline.core.entities import CLIENTS, CONTACTS
from bms_pipeline.core.errors import PlanStale
from bms_pipeline.sync import deciding, planning
from bms_pipeline_tests.building import CREATE_ALL, World, account, contact, in_passportal, opened_world

Change = Callable[[World], object]


def bms_renames(world: World) -> None:
    world.accounts[1] = account(2, "Beta Limited Company")
    world.land()


def bms_adds(world: World) -> None:
    world.contacts.append(contact(7, 1, "Cleo", "Doe"))
    world.land()


def bms_removes(world: World) -> None:
    world.contacts.pop()
    world.land()


CHANGES: dict[str, tuple[Change, str, str]] = {
    "BMS renames a client": (
        bms_renames, r"bms\.clients changed", r"client 2 Beta Limited Company: create was planned, it changed in name",
    ),
    "BMS adds a contact": (
        bms_adds, r"bms\.contacts changed", r"contact 7 Cleo Doe: nothing was planned, it is create",
    ),
    "BMS removes a contact": (
        bms_removes, r"bms\.contacts changed", r"contact 2 Bob Ray: create was planned, BMS no longer lists it",
    ),
    "somebody creates it in Passportal": (
        lambda world: world.passportal_holds(contacts=[in_passportal("new", "bob ray", "A")]),
        r"passportal\.contacts changed", r"contact 2 Bob Ray: create was planned, it is adopt now \(identical_name\)",
    ),
    "somebody fills a field in Passportal": (
        lambda world: world.edit_passportal("UPDATE records SET details = MAP {'Job Title': 'Boss'} WHERE id = 'ann'"),
        r"passportal\.contacts changed", r"contact 1 Ann Lee: adopt was planned, it changed in job_title",
    ),
    "a toggle is switched off": (
        lambda world: deciding.change_settings(world.warehouse, {"sync.contacts": "off"}, "a person"),
        r"settings changed", r"contact 1 Ann Lee: adopt was planned, it is skip now \(sync_is_off\)",
    ),
    "a decision is taken": (
        lambda world: world.exclude("contacts", 2),
        r"decisions changed", r"contact 2 Bob Ray: create was planned, it is skip now \(excluded_by_person\)",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A client and a contact to adopt, and one of each to create; planned."""
    with opened_world(tmp_path_factory.mktemp("planned"), entities=(CLIENTS, CONTACTS)) as world:
        world.accounts = [account(1, "Acme"), account(2, "Beta")]
        world.contacts = [contact(1, 1, "Ann", "Lee", jobTitle="Clerk"), contact(2, 1, "Bob", "Ray")]
        world.passportal_holds(clients=[in_passportal("A", "Acme")], contacts=[in_passportal("ann", "Ann Lee", "A")])
        world.plan(CREATE_ALL)
    return world


@pytest.fixture
def world(planned: World, tmp_path: Path) -> Iterator[World]:
    with opened_world(tmp_path / "home", like=planned) as world:
        yield world


@pytest.mark.parametrize("change", CHANGES)
def test_a_plan_whose_operations_moved_is_refused_by_name(world: World, change: str) -> None:
    plan = planning.current_plan(world.warehouse)
    happens, inputs, operation = CHANGES[change]
    happens(world)
    before = world.content()
    with pytest.raises(PlanStale) as refused:
        world.approve(plan.hash)
    assert re.search(inputs, refused.value.message), refused.value.message
    assert re.search(operation, refused.value.message), refused.value.message
    assert world.content() == before, "nothing was loaded"
    assert planning.current_plan(world.warehouse).hash == plan.hash, "the plan is kept"


def test_the_plan_that_is_made_after_a_refusal_is_another_and_is_loaded(world: World) -> None:
    plan = planning.current_plan(world.warehouse)
    bms_adds(world)
    with pytest.raises(PlanStale):
        world.approve(plan.hash)
    assert world.plan(CREATE_ALL).hash != plan.hash
    assert world.finish()["contacts"]["created"] == 2


def test_a_change_that_moves_no_operation_leaves_the_plan_standing(world: World) -> None:
    plan = planning.current_plan(world.warehouse)
    world.accounts.append(account(3, "Gamma"))  # waits for a decision, so nothing is planned for it
    world.land()
    world.edit_passportal("UPDATE records SET details = MAP {'Notes': 'not a field that is mapped'} WHERE id = 'ann'")
    assert world.approve(plan.hash).approved
    assert world.load()["contacts"]["created"] == 1
