"""The same command takes up a load that was interrupted, looks up what was under way, and ends as if nothing happened.

A write whose answer was lost is sent again only when its time has passed and it is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import time_machine

from bms_pipeline.core.entities import CLIENTS, CONTACTS
from bms_pipeline.core.errors import DecisionRefused, ServiceUnreachable
from bms_pipeline.passportal.embedded import EmbeddedPassportal
from bms_pipeline.passportal.target import Write
from bms_pipeline.reconcile import duplicates
from bms_pipeline.sync import deciding, loading, planning, services
from bms_pipeline_tests.building import AS_HELD, CREATE_ALL, World, account, contact, in_passportal, opened_world
from bms_pipeline_tests.load.disturbing import GRACE_SECONDS, Dying, Fault, Killed, Passing, Slow
from bms_pipeline_tests.load.test_lost_answers import fill, matches, unknown

THEN = datetime(2031, 7, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> World:
    with opened_world(tmp_path_factory.mktemp("prepared"), entities=AS_HELD) as world:
        fill(world).plan(CREATE_ALL)
    return world


@pytest.fixture
def planned(prepared: World, tmp_path: Path) -> Iterator[World]:
    with opened_world(tmp_path / "home", like=prepared) as world:
        yield world


@pytest.fixture(scope="module")
def undisturbed(prepared: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    with opened_world(tmp_path_factory.mktemp("undisturbed"), like=prepared) as world:
        world.finish()
        return world.content(), matches(world), results(world)


def results(world: World) -> object:
    return world.query(
        "SELECT entity, outcome, count(*) FROM sync.outcomes WHERE entity <> 'users' GROUP BY ALL ORDER BY ALL"
    )


@pytest.fixture
def finish(monkeypatch: pytest.MonkeyPatch) -> Callable[..., loading.Finished]:
    """The command ``finish HASH``, at a given target."""

    def run(world: World, target: Passing | EmbeddedPassportal, *, wait: bool = True) -> loading.Finished:
        world.let_go_of_the_warehouse()
        monkeypatch.setattr(services, "open_target", lambda settings: target)
        world.approve(planning.current_plan(world.warehouse).hash, target)
        return loading.finish(world.settings, wait=wait)

    return run


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("verb", "entity"),
    [("create", "clients"), ("find", "clients"), ("update", "clients"), ("create", "contacts"), ("create", "assets")],
)
def test_the_same_finish_after_a_kill_ends_as_if_nothing_had_happened(
    planned: World,
    undisturbed: tuple[object, ...],
    finish: Callable[..., loading.Finished],
    verb: str,
    entity: str,
    when: Fault,
) -> None:
    with pytest.raises(Killed):
        finish(planned, Dying(planned.passportal, verb, entity, when))
    assert unknown(planned)
    finished = finish(planned, planned.passportal)
    assert finished.plan.loaded
    assert not finished.left
    assert unknown(planned) == []
    assert (planned.content(), matches(planned), results(planned)) == undisturbed
    assert planned.plan(CREATE_ALL).operations == 0


def test_a_finish_of_a_loaded_plan_does_nothing_and_says_when_it_was(
    planned: World, finish: Callable[..., loading.Finished]
) -> None:
    plan_hash = planning.current_plan(planned.warehouse).hash
    assert loading.loaded_at(planned.warehouse, plan_hash) is None
    loaded_at = finish(planned, planned.passportal).plan.loaded_at
    before = planned.content()
    assert loading.loaded_at(planned.warehouse, plan_hash[:12]) == loaded_at
    planned.plan(CREATE_ALL)
    assert loading.loaded_at(planned.warehouse, plan_hash) == loaded_at, "also when another plan was made since"
    assert loading.loaded_at(planned.warehouse, "0" * 12) is None
    assert planned.content() == before


def test_what_is_inside_a_client_waits_until_the_plan_has_loaded_the_client(planned: World) -> None:
    plan = planned.approve(planning.current_plan(planned.warehouse).hash)
    loaded = loading.load(planned.settings, planned.warehouse, planned.passportal, CONTACTS, plan)
    assert (loaded.done, loaded.refused) == (0, 0)
    assert planned.query("SELECT count(*) FROM sync.journal") == [(0,)]
    loading.load(planned.settings, planned.warehouse, planned.passportal, CLIENTS, plan)
    loaded = loading.load(planned.settings, planned.warehouse, planned.passportal, CONTACTS, plan)
    assert (loaded.done, loaded.refused) == (6, 0)


# A service that may still do what it did not answer


def test_a_lost_write_blocks_its_record_and_all_inside_it_and_everything_else_is_loaded(
    planned: World, finish: Callable[..., loading.Finished]
) -> None:
    finished = finish(planned, Slow(planned.passportal, ("clients", 2)), wait=False)
    assert unknown(planned) == [("clients", 2)]
    assert not finished.plan.loaded
    assert finished.left == {"clients": 1, "contacts": 2, "assets": 1}
    assert not planning.current_plan(planned.warehouse).loaded
    assert {each.marker for each in planned.content() if each.type == "contact"} == {"1", "2", "4", "6"}
    planned.plan(CREATE_ALL, Slow(planned.passportal))
    assert planned.decisions("clients")[2][:2] == ("blocked", "write_unknown")
    assert planned.decisions("contacts")[3][:2] == ("blocked", "client_write_unknown")
    assert planned.decisions("contacts")[1][0] == "matched"


@pytest.mark.parametrize("seconds_late", [30, 240])
def test_a_write_that_arrives_late_is_found_and_not_sent_again(
    planned: World, finish: Callable[..., loading.Finished], undisturbed: tuple[object, ...], seconds_late: int
) -> None:
    slow = Slow(planned.passportal, ("clients", 2), ("contacts", 4), ("assets", 2))
    with time_machine.travel(THEN, tick=True) as clock:
        finish(planned, slow, wait=False)
        clock.shift(timedelta(seconds=seconds_late / 2))
        finish(planned, slow, wait=False)
        clock.shift(timedelta(seconds=seconds_late / 2))
        slow.deliver()
        finished = finish(planned, slow, wait=False)
    assert finished.plan.loaded
    assert (titles(planned), matches(planned), results(planned)) == (titles_of(undisturbed[0]), *undisturbed[1:])


def test_a_write_that_never_arrives_is_sent_again_under_the_same_approval_when_its_time_has_passed(
    planned: World, finish: Callable[..., loading.Finished], undisturbed: tuple[object, ...]
) -> None:
    slow = Slow(planned.passportal, ("clients", 2), ("contacts", 4))
    with time_machine.travel(THEN, tick=True) as clock:
        finish(planned, slow, wait=False)
        clock.shift(timedelta(seconds=GRACE_SECONDS - 20))
        assert not finish(planned, slow, wait=False).plan.loaded
        assert unknown(planned) == [("clients", 2), ("contacts", 4)], "not before its time has passed"
        clock.shift(timedelta(seconds=21))
        finished = finish(planned, slow, wait=False)
    assert finished.plan.loaded
    assert titles(planned) == titles_of(undisturbed[0])
    outcomes = (
        "SELECT outcome, count(*) FROM sync.journal WHERE entity = 'clients' AND bms_id = 2 GROUP BY 1 ORDER BY 1"
    )
    assert planned.query(outcomes) == [("done", 1), ("not_sent", 1)]


def test_a_load_waits_for_the_rest_of_the_time_and_says_for_what(
    planned: World, undisturbed: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(planned.passportal, ("clients", 2))
    slow.unknown_seconds = 0.2
    told: list[str] = []
    planned.let_go_of_the_warehouse()
    monkeypatch.setattr(services, "open_target", lambda settings: slow)
    planned.approve(planning.current_plan(planned.warehouse).hash, slow)
    finished = loading.finish(planned.settings, progress=lambda stage, done, total: told.append(stage))
    assert finished.plan.loaded
    assert titles(planned) == titles_of(undisturbed[0])
    assert any("1 writes without answer (Ctrl-C is safe)" in stage for stage in told)


def test_an_approved_plan_that_was_left_in_the_middle_is_finished_before_the_next_one_is_made(
    planned: World,
    finish: Callable[..., loading.Finished],
    undisturbed: tuple[object, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(Killed):
        finish(planned, Dying(planned.passportal, "create", "contacts", "before"))
    monkeypatch.setattr(services, "open_target", lambda settings: planned.passportal)
    assert loading.resume(planned.settings) is not None
    assert planning.current_plan(planned.warehouse).loaded
    assert (planned.content(), matches(planned), results(planned)) == undisturbed


def test_a_service_that_takes_no_writes_is_not_asked_on_and_on(
    planned: World, finish: Callable[..., loading.Finished]
) -> None:
    deaf = Slow(planned.passportal, *(("contacts", n) for n in range(20)), *(("assets", n) for n in range(20)))
    deaf.batch_size = 1
    with pytest.raises(ServiceUnreachable, match="did not answer 3 writes of contacts in a row"):
        finish(planned, deaf, wait=False)
    assert len([entity for entity, _ in unknown(planned) if entity == "contacts"]) == 3


def test_a_moment_in_the_future_counts_as_now(planned: World, finish: Callable[..., loading.Finished]) -> None:
    slow = Slow(planned.passportal, ("clients", 2))
    with time_machine.travel(THEN + timedelta(days=400), tick=True):
        finish(planned, slow, wait=False)
    with time_machine.travel(THEN, tick=True) as clock:
        finish(planned, slow, wait=False)
        clock.shift(timedelta(seconds=GRACE_SECONDS + 1))
        assert finish(planned, slow, wait=False).plan.loaded


# Duplicates


def late(world: World, finish: Callable[..., loading.Finished]) -> None:
    """A contact's create arrives long after it was sent again."""
    slow = Slow(world.passportal, ("contacts", 4))
    with time_machine.travel(THEN, tick=True) as clock:
        finish(world, slow, wait=False)
        clock.shift(timedelta(seconds=GRACE_SECONDS + 1))
        assert finish(world, slow, wait=False).plan.loaded
        slow.under_way = [(CONTACTS, write) for write in slow_write(world)]
        slow.deliver()


def slow_write(world: World) -> list[Write]:
    rows = world.query("SELECT client_id, name FROM passportal.contacts WHERE bms_id = 4")
    return [Write(4, client_id, values={"name": name}) for client_id, name in rows]


def test_a_create_that_arrives_after_all_is_found_at_the_next_snapshot_and_settled_by_one_command(
    planned: World, finish: Callable[..., loading.Finished]
) -> None:
    late(planned, finish)
    planned.plan(CREATE_ALL)
    twice = [row for row in sharing_an_id(planned) if row["entity"] == "contacts"]
    assert [(row["bms_id"], row["is_matched"]) for row in twice] == [(4, True), (4, False)]
    keeper = next(str(row["passportal_id"]) for row in twice if not row["is_matched"])
    with pytest.raises(DecisionRefused, match="does not share the id of contact 4"):
        deciding.keep(planned.warehouse, CONTACTS, 4, "contact-9999", "a person")
    assert deciding.keep(planned.warehouse, CONTACTS, 4, keeper, "a person") != [keeper]
    assert sharing_an_id(planned) == []
    planned.cycle()
    assert planned.query("SELECT passportal_id FROM sync.matches WHERE entity = 'contacts' AND bms_id = 4") == [
        (keeper,)
    ]
    assert sum(each.marker == "4" for each in planned.content() if each.type == "contact") == 1
    assert planned.plan(CREATE_ALL).operations == 0


def test_of_two_records_with_one_id_that_were_there_before_neither_is_guessed(world: World) -> None:
    world.entities = (CLIENTS, CONTACTS)
    world.accounts = [account(1, "Acme")]
    world.passportal_holds(clients=[in_passportal("C1", "Acme")])
    world.cycle()
    world.contacts = [contact(7, 1, "Ann", "Lee")]
    world.passportal_holds(
        contacts=[in_passportal("P1", "Ann Lee", "C1"), in_passportal("P2", "Somebody", "C1")],
    )
    world.edit_passportal("UPDATE records SET marker = '7' WHERE type = 'contact'")
    world.plan(CREATE_ALL)
    assert world.decisions("contacts")[7][:2] == ("ambiguous", "several_with_marker")
    assert {row["passportal_id"] for row in sharing_an_id(world)} == {"P1", "P2"}
    deciding.keep(world.warehouse, CONTACTS, 7, "P1", "a person")
    world.cycle()
    assert world.query("SELECT passportal_id FROM sync.matches WHERE entity = 'contacts'") == [("P1",)]
    assert world.query("SELECT passportal_id FROM passportal.contacts WHERE bms_id IS NOT NULL") == [("P1",)]
    assert world.plan(CREATE_ALL).operations == 0


def sharing_an_id(world: World) -> list[dict[str, object]]:
    with world.warehouse.open() as connection:
        return duplicates.find(connection)


def titles(world: World) -> list[tuple[object, ...]]:
    return titles_of(world.content())


def titles_of(content: object) -> list[tuple[object, ...]]:
    return sorted((each.type, each.title, each.marker or "") for each in content)  # type: ignore[attr-defined]
