"""Calls that fail, before or after they took effect: nothing is guessed, nothing is sent twice, nothing is lost."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

from bms_pipeline import sync
from bms_pipeline.entities import ASSET_RECORDS, CLIENTS, CONTACT_RECORDS, Entity
from bms_pipeline.errors import PipelineError, PlanError, ServiceError, ServiceUnreachable
from bms_pipeline.passportal.target import Write
from bms_pipeline.warehouse.connection import Warehouse
from bms_pipeline_tests.building import (
    CREATE_ALL,
    Stored,
    World,
    account,
    asset,
    contact,
    in_passportal,
    opened_world,
)
from bms_pipeline_tests.load.disturbing import Failing, Fault, Passing, RandomlyFailing

_T = TypeVar("_T")
BOTH: tuple[Fault, ...] = ("before", "after")


def fill(world: World) -> World:
    """A client to adopt and one to create, with something to adopt and to create in them."""
    world.entities = (CLIENTS, CONTACT_RECORDS, ASSET_RECORDS)
    world.accounts = [account(1, "Acme"), account(2, "New")]
    world.contacts = [
        contact(1, 1, "Ann", "Lee", "ann@a.example"),
        *(contact(n, 1 + n % 2, "Person", str(n)) for n in range(2, 7)),
    ]
    world.assets = [asset(1, 1, "PC-1", "SN-0001"), asset(2, 1, "PC-2"), asset(3, 2, "PC-3", "SN-0003")]
    world.passportal_holds(
        clients=[in_passportal("C1", "ACME")],
        contacts=[in_passportal("P1", "ann lee", "C1")],
        assets=[in_passportal("A1", "Old", "C1", serial_number="SN0001")],
    )
    return world


def unknown(world: World) -> list[tuple[str, int]]:
    """(entity, BMS id) of the operations whose outcome is not known."""
    return [
        (entity, n)
        for entity, n in world.query("SELECT entity, bms_id FROM sync.journal WHERE outcome IS NULL ORDER BY ALL")
    ]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Stored], list[tuple[str, int]]]:
    """What Passportal holds, and what is matched, after a load that nothing disturbed."""
    with opened_world(tmp_path_factory.mktemp("undisturbed")) as world:
        fill(world).cycle()
        return world.content(), world.query("SELECT entity, bms_id FROM sync.matches ORDER BY ALL")


# Any calls


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_whatever_calls_fail_the_next_sync_makes_it_whole(
    world: World, undisturbed: tuple[list[Stored], list[tuple[str, int]]], seed: int
) -> None:
    print(f"seed {seed}")
    fill(world)
    failing = RandomlyFailing(world.passportal, seed, faults=5, batch_size=2)
    for attempt in range(12):
        with contextlib.suppress(ServiceUnreachable, PlanError):
            if attempt % 4:  # go on with the same plan, as a restarted run does, if there is one
                world.load(failing)
            else:
                world.cycle(CREATE_ALL, failing)
            break
    world.cycle()
    content, matches = undisturbed
    assert failing.left < 5
    assert world.content() == content
    assert world.query("SELECT entity, bms_id FROM sync.matches ORDER BY ALL") == matches
    assert unknown(world) == []
    assert world.plan(CREATE_ALL).operations == 0
    for verb in ("create", "update"):
        written = [(entity, n) for done, entity, ids in failing.calls if done == verb for n in ids]
        assert len(written) == len(set(written)), "each was sent once to where it arrived"


@pytest.mark.parametrize("fault", BOTH)
@pytest.mark.parametrize("verb", ["create", "update", "find"])
def test_an_operation_without_answer_stays_unknown_and_is_not_sent_again_by_going_on(
    world: World, verb: str, fault: Fault
) -> None:
    fill(world)
    failing = Failing(world.passportal, {(verb, "contacts"): fault}, batch_size=2)
    with pytest.raises(ServiceUnreachable):
        world.cycle(CREATE_ALL, failing)
    waiting = unknown(world)
    assert len(waiting) == (1 if verb == "update" else 2)
    sent = len(failing.calls)
    counts = world.load(failing)
    assert unknown(world) == waiting
    assert counts["contacts"]["pending"] == len(waiting)
    assert not {n for _, entity, ids in failing.calls[sent:] if entity == "contacts" for n in ids} & {
        n for _, n in waiting
    }
    world.reconcile(CREATE_ALL)
    assert unknown(world) == []
    settled = dict(
        world.query("SELECT bms_id, outcome FROM sync.journal WHERE detail = 'settled by reading Passportal'")
    )
    arrived = "not_sent" if fault == "before" and verb != "find" else "done"
    assert settled == {n: arrived for _, n in waiting}


def test_a_record_that_was_accepted_and_is_not_listed_is_not_sent_again(world: World) -> None:
    class Forgetful(Passing):
        def find(self, entity: Entity, writes: Sequence[Write]) -> dict[int, str]:
            return {}

    fill(world)
    with pytest.raises(ServiceError, match="accepted 1 new clients and does not list 1 of them") as refusal:
        world.cycle(CREATE_ALL, Forgetful(world.passportal))
    assert "(BMS ids 2)" in str(refusal.value)
    world.cycle(CREATE_ALL)
    assert world.titles("client") == ["ACME", "New"]


# What changes meanwhile


@pytest.mark.parametrize("fault", BOTH)
@pytest.mark.parametrize("operation", ["create", "adopt", "update"])
def test_what_bms_changed_after_a_lost_answer_still_reaches_passportal(
    world: World, operation: str, fault: Fault
) -> None:
    """The outcome is settled by the values that were sent; what came later is a change since then."""
    world.entities = (CLIENTS, CONTACT_RECORDS)
    world.accounts, world.contacts = [account(1, "Acme")], [contact(1, 1, "Ann", "Lee", jobTitle="first")]
    world.passportal_holds(clients=[in_passportal("C1", "Acme")])
    if operation == "adopt":
        world.passportal_holds(contacts=[in_passportal("P1", "ann lee", "C1")])
    if operation == "update":
        world.cycle()
        world.contacts[0]["jobTitle"] = "second"
    verb = "create" if operation == "create" else "update"
    with pytest.raises(ServiceUnreachable):
        world.cycle(CREATE_ALL, Failing(world.passportal, {(verb, "contacts"): fault}))
    world.contacts[0]["jobTitle"] = "third"
    world.cycle()
    world.cycle()
    (found,) = [each for each in world.content() if each.type == "contact"]
    assert found.details["Job Title"] == "third"
    assert found.marker == "1"
    assert world.plan(CREATE_ALL).operations == 0


def test_a_record_renamed_after_its_create_lost_its_answer_is_renamed_and_not_created(world: World) -> None:
    """Rule 2."""
    world.entities = (CLIENTS,)
    world.accounts = [account(1, "Acme")]
    with pytest.raises(ServiceUnreachable):
        world.cycle(CREATE_ALL, Failing(world.passportal, {("create", "clients"): "after"}))
    world.accounts = [account(1, "Zenith")]
    world.cycle()
    assert [(each.title, each.marker) for each in world.content()] == [("Zenith", "1")]


def test_a_person_who_edits_what_a_lost_answer_had_written_keeps_the_edit(world: World) -> None:
    world.entities = (CLIENTS,)
    world.accounts = [account(1, "Acme")]
    with pytest.raises(ServiceUnreachable):
        world.cycle(CREATE_ALL, Failing(world.passportal, {("create", "clients"): "after"}))
    world.edit_passportal("UPDATE records SET title = 'Acme, as we call it'")
    world.cycle()
    assert [(each.title, each.marker) for each in world.content()] == [("Acme, as we call it", "1")]
    assert world.plan(CREATE_ALL).operations == 0


# The journal


def test_every_call_has_its_intent_on_record_before_it_is_made(world: World) -> None:
    class Watching(Passing):
        intents: list[tuple[str, bool]] = []  # noqa: RUF012  # one object, one test

        def call(self, verb: str, entity: Entity, writes: Sequence[Write], go: Callable[[], _T]) -> _T:
            if verb in ("create", "update"):
                ids = {n for name, n in unknown(world) if name == entity.name}
                self.intents.append((entity.name, ids == {each.bms_id for each in writes}))
            return super().call(verb, entity, writes, go)

    watching = Watching(fill(world).passportal, batch_size=2)
    world.cycle(CREATE_ALL, watching)
    assert len(watching.intents) > 6
    assert all(known for _, known in watching.intents)
    assert world.query("SELECT outcome, count(*) FROM sync.journal GROUP BY ALL") == [("done", 11)]


def test_a_batch_is_of_one_kind_and_client_follows_client(world: World) -> None:
    passing = Passing(fill(world).passportal, batch_size=2)
    world.cycle(CREATE_ALL, passing)
    accounts = {each["id"]: each["accountId"] for each in world.contacts}
    created = [ids for verb, entity, ids in passing.calls if (verb, entity) == ("create", "contacts")]
    assert [len(each) for each in created] == [2, 2, 1]
    assert [accounts[n] for ids in created for n in ids] == [1, 1, 1, 2, 2]
    order = [(verb, entity) for verb, entity, _ in passing.calls if verb in ("create", "update")]
    assert (
        order.index(("create", "clients")) < order.index(("update", "contacts")) < order.index(("create", "contacts"))
    )


def test_the_database_is_free_for_others_while_passportal_is_called(tmp_path: Path) -> None:
    """DuckDB lets one process in: a connection is never held across a call to a service."""
    look = "import duckdb, sys; print(duckdb.connect(sys.argv[1], read_only=True).execute('SELECT 1').fetchone())"

    class Looking(Passing):
        seen = ""

        def call(self, verb: str, entity: Entity, writes: Sequence[Write], go: Callable[[], _T]) -> _T:
            if verb == "create":
                command = [sys.executable, "-c", look, str(self.file)]
                self.seen += subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout
            return super().call(verb, entity, writes, go)

    with opened_world(tmp_path / "prepared", entities=(CLIENTS,), accounts=[account(1, "Acme")]) as prepared:
        sync.approve(prepared.warehouse, prepared.plan(CREATE_ALL).hash)
    with opened_world(tmp_path / "home", like=prepared) as world:
        world.warehouse.close()
        world.warehouse = Warehouse(world.settings.warehouse_file)
        looking = Looking(world.passportal)
        looking.file = world.settings.warehouse_file
        world.load(looking)
    assert looking.seen == "(1,)\n"


def test_a_snapshot_that_fails_changes_nothing(world: World) -> None:
    fill(world).cycle()
    before = world.query("SELECT * FROM passportal.contacts ORDER BY ALL")
    with pytest.raises(PipelineError):
        world.plan(CREATE_ALL, Failing(world.passportal, {("snapshot", "contacts"): "after"}))
    assert world.query("SELECT * FROM passportal.contacts ORDER BY ALL") == before
