"""The plan: its hash, whose word it needs, when it is stale, when a breaker opens, and that every record is counted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bms_pipeline.core.entities import CLIENTS, CONTACTS, ENTITIES, USERS
from bms_pipeline.core.errors import BreakerOpen, PlanError, PlanStale, RecordsUnexplained
from bms_pipeline.load import apply
from bms_pipeline.plan.operations import OUTCOMES, Plan
from bms_pipeline.reconcile.matching import Scope
from bms_pipeline.sync import passportal_snapshot, planning
from bms_pipeline_tests.building import (
    CREATE_ALL,
    World,
    account,
    asset,
    contact,
    employee,
    in_passportal,
    location,
    opened_world,
)

PEOPLE = 60
TWO = (CLIENTS, CONTACTS)


def numbered(count: int, title: str | None = None, changed: int = 0) -> list[dict[str, object]]:
    """Contacts in one client; the first ``changed`` of them with another job title."""
    return [contact(n, 1, "Person", str(n), jobTitle=title if n <= changed else "a") for n in range(1, count + 1)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world of all entities after its first finish, with sixty matched contacts and ten users that wait."""
    with opened_world(tmp_path_factory.mktemp("finished")) as world:
        world.accounts = [account(1, "Acme", location(1, "HQ"))]
        world.contacts = numbered(PEOPLE)
        world.assets = [asset(1, 1, "PC")]
        world.employees = [employee(n, "User", str(n)) for n in range(1, 11)]
        world.passportal_holds(clients=[in_passportal("C1", "Acme")])
        world.cycle(None)
    return world


@pytest.fixture
def after_finish(finished: World, tmp_path: Path) -> Iterator[World]:
    with opened_world(tmp_path / "home", like=finished) as world:
        yield world


def small(world: World) -> World:
    """One client to adopt and one contact to create."""
    world.entities = TWO
    world.accounts, world.contacts = [account(1, "Acme")], [contact(1, 1, "Ann", "Lee", "ann@a.example")]
    world.passportal_holds(clients=[in_passportal("C1", "Acme")])
    return world


# The hash


def test_the_hash_does_not_depend_on_any_order(tmp_path: Path) -> None:
    hashes = []
    for turn in (1, -1):
        with opened_world(tmp_path / f"home{turn}", entities=TWO) as world:
            world.accounts = [account(1, "Acme"), account(2, "Beta"), account(3, "New")][::turn]
            world.contacts = [contact(1, 1, "Ann", "Lee"), contact(2, 2, "Bob", "Ray"), contact(3, 3, "Cat", "Fox")][
                ::turn
            ]
            clients = [in_passportal("C1", "Acme"), in_passportal("C2", "Beta")][::turn]
            world.passportal_holds(clients=clients, contacts=[in_passportal("P1", "ANN LEE", "C1")])
            plan = world.plan(CREATE_ALL)
            assert plan.operations == 6
            assert re.fullmatch(r"[0-9a-f]{32}", plan.hash)
            hashes.append(plan.hash)
            if turn < 0:
                assert planning.make_plan(world.warehouse, TWO, CREATE_ALL).hash == plan.hash, "nor on when it is made"
    assert hashes[0] == hashes[1]


def test_the_hash_changes_with_anything_that_would_be_written(world: World) -> None:
    world.entities = (USERS,)
    hashes = set()
    rows = (
        employee(1, "Ann", "Lee", emailAddress="ann@a.example"),
        employee(1, "Ann", "Lee", emailAddress="other@a.example"),
        employee(1, "Ann", "LEE", emailAddress="ann@a.example"),
        employee(1, "Ann Lee", None, emailAddress="ann@a.example"),
        employee(1, "Ann", "Lee", emailAddress=None),
        employee(2, "Ann", "Lee", emailAddress="ann@a.example"),
    )
    for row in rows:
        world.employees = [row]
        hashes.add(world.plan(CREATE_ALL).hash)
    assert len(hashes) == len(rows)


def test_control_characters_in_a_value_make_no_two_plans_alike(world: World) -> None:
    world.entities = (USERS,)
    hashes = set()
    for first, last in (("a\x1fb", "c"), ("a", "b\x1fc"), ("a\x1f\x1f", "c"), ("a", "\x1f\x1fc")):
        world.employees = [employee(1, first, last, emailAddress="x")]
        hashes.add(world.plan(CREATE_ALL).hash)
    assert len(hashes) == 4


def test_a_plan_that_changes_nothing_has_the_same_hash_whatever_it_skips(after_finish: World) -> None:
    after_finish.entities = (USERS,)
    empty = after_finish.plan()
    assert empty.operations == 0
    after_finish.employees.append(employee(99, "Another", "One"))
    assert after_finish.plan().hash == empty.hash


# Whose word it needs


def test_before_the_first_finish_a_plan_waits_for_a_person_who_names_its_hash(world: World) -> None:
    plan = small(world).plan()
    with pytest.raises(PlanError, match="waits for a person") as refusal:
        world.load()
    assert f"bms-pipeline finish {plan.hash[:12]}" in str(refusal.value)
    assert world.titles("contact") == []
    assert not plan.approved
    assert world.approve(plan.hash[:8].upper()).approved
    world.load()
    assert world.titles("contact") == ["Ann Lee"]


@pytest.mark.parametrize("wrong", ["", "0" * 32, "short", "the hash plus"])
def test_another_hash_is_refused_and_nothing_is_approved(world: World, wrong: str) -> None:
    plan = small(world).plan()
    named = {"short": plan.hash[:7], "the hash plus": f"{plan.hash}0"}.get(wrong, wrong)
    with pytest.raises(PlanError, match=f"that is {plan.hash[:12]}"):
        world.approve(named)
    assert not planning.current_plan(world.warehouse).approved


def test_a_plan_is_loaded_once(world: World) -> None:
    small(world).cycle()
    with pytest.raises(PlanError, match="was loaded already"):
        world.load()


def test_without_a_plan_there_is_nothing_to_approve_or_load(world: World) -> None:
    for verb in (lambda: world.approve("0" * 8), world.load):
        with pytest.raises(PlanError, match="no plan yet"):
            verb()


def test_the_word_for_one_plan_is_none_for_the_next(world: World) -> None:
    plan = small(world).plan()
    world.approve(plan.hash)
    world.contacts.append(contact(2, 1, "Bob", "Ray"))
    world.plan()
    with pytest.raises(PlanError, match="waits for a person"):
        world.load()


def test_a_restricted_plan_does_not_end_the_initial_sync(world: World) -> None:
    small(world)
    world.entities = ENTITIES
    world.cycle(Scope(clients=(1,)))
    assert world.query("SELECT count(*) FROM sync.settings WHERE name = 'initial_sync_finished_at'") == [(0,)]
    world.cycle(None)
    assert world.query("SELECT count(*) FROM sync.settings WHERE name = 'initial_sync_finished_at'") == [(1,)]


# Stale


def test_a_plan_is_stale_once_its_inputs_changed_and_says_which(world: World) -> None:
    plan = small(world).plan()
    world.land()
    assert not planning.current_plan(world.warehouse).stale, "the same landed again is no change"
    world.contacts.append(contact(2, 1, "Bob", "Ray"))
    world.land()
    world.edit_passportal("UPDATE records SET title = 'Acme Ltd'")
    passportal_snapshot.snapshot(world.settings, world.warehouse, world.passportal, CLIENTS)
    world.set("update_share", 0.5)
    assert planning.current_plan(world.warehouse).stale
    for verb in (lambda: world.approve(plan.hash), world.load):
        with pytest.raises(PlanStale, match=r"bms\.contacts, passportal\.clients, settings changed"):
            verb()


def test_stored_records_that_changed_since_they_were_decided_make_no_plan(world: World) -> None:
    small(world).reconcile()
    world.contacts.append(contact(2, 1, "Bob", "Ray"))
    world.land()
    with pytest.raises(RecordsUnexplained, match=r"contacts: 2 records were read, the plan has 1 rows"):
        planning.make_plan(world.warehouse, TWO, Scope())


# Breakers


def test_a_breaker_opens_over_the_share_and_a_person_who_names_the_hash_closes_it(after_finish: World) -> None:
    after_finish.entities = TWO
    after_finish.contacts = numbered(PEOPLE, "b", changed=12)
    assert after_finish.plan().operations == 12
    apply.check_approved(after_finish.warehouse)  # just the share
    after_finish.contacts = numbered(PEOPLE, "b", changed=13)
    plan = after_finish.plan()
    with pytest.raises(BreakerOpen, match="would update 13 of 60 matched contacts, more than 20%") as refusal:
        after_finish.load()
    assert f"bms-pipeline finish {plan.hash[:12]}" in str(refusal.value)
    assert planning.current_plan(after_finish.warehouse).hash == plan.hash, "the plan is kept"
    after_finish.approve(plan.hash)
    assert after_finish.load()["contacts"]["updated"] == 13


def test_a_share_of_few_records_opens_no_breaker(after_finish: World) -> None:
    after_finish.entities = TWO
    after_finish.set("update_share", 0.01)
    after_finish.contacts = numbered(PEOPLE, "b", changed=9)
    after_finish.plan()
    apply.check_approved(after_finish.warehouse)
    after_finish.contacts = numbered(PEOPLE, "b", changed=10)
    after_finish.plan()
    with pytest.raises(BreakerOpen, match="more than 1%"):
        apply.check_approved(after_finish.warehouse)


def test_after_the_first_finish_updates_and_allowed_creates_need_nobody(after_finish: World) -> None:
    after_finish.entities = TWO
    after_finish.contacts = [*numbered(PEOPLE, "b", changed=1), contact(99, 1, "New", "One")]
    after_finish.plan()
    counts = after_finish.load()
    assert (counts["contacts"]["updated"], counts["contacts"]["created"]) == (1, 1)


def test_after_the_first_finish_a_create_outside_the_rules_needs_a_person(after_finish: World) -> None:
    """Rule 8; to start a run with *create unmatched* is not yet an approval of what it would create."""
    after_finish.entities = (USERS,)
    before = after_finish.titles("user")
    plan = after_finish.plan(CREATE_ALL)
    assert plan.operations == 10
    with pytest.raises(PlanError):
        after_finish.load()
    assert after_finish.titles("user") == before
    after_finish.approve(plan.hash)
    assert after_finish.load()["users"]["created"] == 10


# Every record counted


def test_every_record_counts_under_one_outcome_before_and_after_the_load(world: World) -> None:
    """Rule 7."""
    world.accounts = [
        account(1, "Adopted", location(1, "HQ")), account(2, "New"), account(3, "Twin"), account(4, "twin"),
        account(5, "Off") | {"isActive": False}, account(6, "Left out"), account(7, None), account(8, "Near Ltd"),
    ]  # fmt: skip
    world.contacts = [contact(n, n, "Ann", "Lee") for n in range(1, 10)]
    world.assets = [asset(1, 1, "PC"), asset(2, 1, "pc"), asset(3, 3, "PC")]
    world.passportal_holds(clients=[in_passportal("C1", "Adopted"), in_passportal("C8", "Near")])
    world.exclude("clients", 6)
    plan: Plan = world.plan(CREATE_ALL)
    (made,) = world.query("SELECT max(plan_id) FROM sync.plans")
    assert plan.plan_id == made[0]
    expected = {
        "clients": {"adopted": 1, "created": 1, "ambiguous": 2, "out_of_scope": 1, "excluded": 1, "unmatched": 2},
        "users": {},
        "locations": {"created": 1},
        "contacts": {"created": 2, "blocked": 6, "out_of_scope": 1},
        "assets": {"created": 2, "blocked": 1},
    }
    before = planning.count_results(world.warehouse)
    world.approve(plan.hash)
    after = world.load()
    for entity, outcomes in expected.items():
        if outcomes:
            assert after[entity] == dict.fromkeys(("read", *OUTCOMES), 0) | outcomes | {"read": sum(outcomes.values())}
            waiting = sum(outcomes.get(each, 0) for each in ("created", "adopted", "updated"))
            assert before[entity]["pending"] == waiting
            assert before[entity]["read"] == sum(before[entity][each] for each in OUTCOMES) == after[entity]["read"]
