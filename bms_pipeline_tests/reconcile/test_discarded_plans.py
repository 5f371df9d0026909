"""A person discards a plan: nobody loads it any more, what was loaded stays, and the next sync plans again."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bms_pipeline.core.entities import CLIENTS, CONTACTS
from bms_pipeline.core.errors import PlanDiscarded, PlanKept, PlanNotCurrent, ServiceUnreachable
from bms_pipeline.plan import operations as plans
from bms_pipeline.reports import figures
from bms_pipeline.state.opening import open_state
from bms_pipeline.sync import deciding, loading, planning
from bms_pipeline.sync.recovery import Restorable
from bms_pipeline.sync.state_file import read_state, write_state
from bms_pipeline.warehouse import decision_log
from bms_pipeline_tests.building import World, account, contact, in_passportal, opened_world
from bms_pipeline_tests.load.disturbing import Failing
from bms_pipeline_tests.running import called


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Planned and not loaded: a client and a contact are matched, another contact is created."""
    with opened_world(tmp_path_factory.mktemp("planned"), entities=(CLIENTS, CONTACTS)) as world:
        world.accounts = [account(1, "Acme")]
        world.contacts = [contact(1, 1, "Ann", "Lee", jobTitle="Clerk"), contact(2, 1, "Bob", "Ray", jobTitle="Cook")]
        world.passportal_holds(clients=[in_passportal("A", "Acme")], contacts=[in_passportal("ann", "Ann Lee", "A")])
        world.plan()
    return world


@pytest.fixture
def world(planned: World, tmp_path: Path) -> Iterator[World]:
    with opened_world(tmp_path / "home", like=planned) as world:
        yield world


def current(world: World) -> plans.Plan:
    return planning.current_plan(world.warehouse)


def discard(world: World, plan_hash: str = "") -> plans.Plan:
    return deciding.discard_plan(world.warehouse, plan_hash, "Robin")


def test_a_discarded_plan_cannot_be_approved_or_loaded_and_says_who_discarded_it(world: World) -> None:
    before = world.content()
    assert discard(world).discarded_by == "Robin"
    for attempt in (lambda: world.approve(current(world).hash), world.load, world.finish):
        with pytest.raises(PlanDiscarded, match="discarded by Robin"):
            attempt()
    assert world.content() == before


def test_an_approval_does_not_outlive_the_plan(world: World) -> None:
    world.approve(current(world).hash)
    discard(world)
    with pytest.raises(PlanDiscarded):
        world.load()
    assert loading.resume(world.settings) is None


def test_nothing_waits_any_more_and_a_plan_is_made_again(world: World) -> None:
    operations = current(world).operations
    discard(world)
    write_state(world.settings, world.warehouse)
    published = read_state(open_state(world.settings))
    assert published is not None
    assert published.plan is None
    assert figures.status(world.settings, world.warehouse).plan is None
    assert planning.is_anything_new(world.warehouse)
    assert not planning.waits_for_person(world.warehouse)
    again = planning.plan_from_stored(world.warehouse, entities=world.synced)
    assert (again.discarded, again.operations) == (False, operations)
    world.finish()
    assert current(world).loaded


def test_the_rest_of_a_plan_loaded_in_part_is_discarded_and_what_was_loaded_stays(world: World) -> None:
    plan = world.approve(current(world).hash)
    loading.load(world.settings, world.warehouse, world.passportal, CLIENTS, plan)
    discard(world)
    with pytest.raises(PlanDiscarded):
        world.load()
    assert not loading.close(world.warehouse, current(world)).plan.loaded
    assert world.query("SELECT entity FROM sync.matches") == [("clients",)]
    assert figures.loads(world.warehouse)[0]["loaded_at"] is None
    world.cycle()
    assert len(world.titles("contact")) == 2, "nothing is created twice"
    deciding.plan_undo(world.warehouse, plan.plan_id)


def test_a_plan_with_a_write_nobody_knows_the_outcome_of_is_kept_until_it_is_looked_up(world: World) -> None:
    world.approve(current(world).hash)
    with pytest.raises(ServiceUnreachable):
        world.load(Failing(world.passportal, {("create", "contacts"): "after"}))
    with pytest.raises(PlanKept, match="nobody knows yet"):
        discard(world)
    assert not current(world).discarded
    world.finish()
    assert len(world.titles("contact")) == 2


def test_a_loaded_plan_and_one_with_nothing_to_load_are_kept(world: World) -> None:
    world.cycle()
    with pytest.raises(PlanKept, match="was loaded"):
        discard(world)
    assert world.plan().operations == 0
    with pytest.raises(PlanKept, match="nothing to load"):
        discard(world)


def test_to_discard_twice_changes_nothing(world: World) -> None:
    first = discard(world)
    assert deciding.discard_plan(world.warehouse, first.hash, "Blake") == first


def test_only_the_plan_that_was_named_is_discarded(world: World) -> None:
    with pytest.raises(PlanNotCurrent):
        discard(world, "0" * 32)
    assert discard(world, current(world).hash[:8]).discarded


def test_a_stale_plan_and_one_that_takes_a_load_back_can_be_discarded(world: World) -> None:
    world.exclude("contacts", 2)
    assert discard(world).stale
    world.cycle()
    undo = deciding.plan_undo(world.warehouse, current(world).plan_id)
    assert discard(world).plan_id == undo.plan_id
    again = planning.plan_from_stored(world.warehouse, entities=world.synced)
    assert (again.undoes, again.operations) == (None, 0)
    assert len(world.query("SELECT * FROM sync.matches")) == 2, "nothing was taken back"


def test_a_discard_has_a_line_in_the_second_copy(world: World) -> None:
    discard(world)
    last = decision_log.read_log(decision_log.file_of(world.settings.warehouse_file)).entries[-1]
    assert [(plan["discarded_by"], plan["hash"]) for plan in last["plans"]] == [("Robin", current(world).hash)]
    json.dumps(last)


def test_a_restore_does_not_count_a_discarded_plan_among_the_approvals_to_give_again(world: World) -> None:
    world.approve(current(world).hash)
    discard(world)
    log = decision_log.read_log(decision_log.file_of(world.settings.warehouse_file))
    assert Restorable(None, log.entries, []).approvals == 1, "the approval itself"


def test_the_command_discards_the_plan_it_names_and_says_what_the_next_sync_does(world: World) -> None:
    plan_hash, home = current(world).hash, world.settings.bms_pipeline_home
    world.let_go_of_the_warehouse()
    environment = {"BMS_PIPELINE_HOME": str(home), "PATH": os.environ["PATH"]}

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        return called(*arguments, environment=environment, folder=home)

    assert command("discard-plan", "0" * 12).returncode == 1
    shown = command("discard-plan", plan_hash[:12], "--by", "Robin")
    assert (shown.returncode, "is discarded (Robin" in shown.stdout) == (0, True)
    assert "The next sync makes a new plan" in shown.stdout
    refused = command("finish", plan_hash)
    assert refused.returncode == 1
    assert "was discarded by Robin" in refused.stderr
    assert json.loads(command("discard-plan", "--json").stdout)["discarded_by"] == "Robin"
