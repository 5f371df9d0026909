"""Breakers: what stops a load that nobody looked at, what is held back, and how a person allows it.

That too many updates stop a load is told in ``test_plan``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bms_pipeline.core.entities import CLIENTS, CONTACTS, ENTITIES, USERS
from bms_pipeline.core.errors import BreakerOpen, PlanStale, PlanWaits, SweepIncomplete
from bms_pipeline.reconcile.matching import Scope
from bms_pipeline.reports import figures
from bms_pipeline.reports.plan_preview import overview, write_html
from bms_pipeline.reports.read_models import HeldBack
from bms_pipeline.sync import passportal_snapshot, planning
from bms_pipeline_tests.building import Row, World, account, contact, employee, in_passportal, opened_world

TWO = (CLIENTS, CONTACTS)
BIG, SMALL = 20, 100


def people(changed: int = 0, small_changed: int = 0) -> list[Row]:
    """Twenty contacts of client 1 and a hundred of client 2, of which the first few have another job title."""
    return [
        *(contact(n, 1, "Person", str(n), jobTitle="b" if n <= changed else "a") for n in range(1, BIG + 1)),
        *(
            contact(n, 2, "Person", str(n), jobTitle="b" if n <= 1000 + small_changed else "a")
            for n in range(1001, 1001 + SMALL)
        ),
    ]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Two clients and their contacts, all matched, and the initial sync finished."""
    with opened_world(tmp_path_factory.mktemp("finished"), entities=TWO) as world:
        world.accounts = [account(1, "Acme"), account(2, "Beta")]
        world.contacts = people()
        world.passportal_holds(clients=[in_passportal("C1", "Acme"), in_passportal("C2", "Beta")])
        world.cycle()
        world.set("initial_sync_finished_at", "2026-01-01 00:00:00")  # as a cycle of all five would, in half the time
    return world


@pytest.fixture
def world(finished: World, tmp_path: Path) -> Iterator[World]:
    with opened_world(tmp_path / "home", like=finished) as world:
        yield world


def stopped(world: World, error: type[Exception], words: str) -> str:
    """The complaint of a load that is stopped: nothing was written, and the plan is still the current one."""
    before, plan = world.content(), planning.current_plan(world.warehouse)
    with pytest.raises(error, match=words) as refusal:
        world.load()
    assert type(planning.why_not_loaded(world.warehouse)) is error
    assert world.content() == before
    assert planning.current_plan(world.warehouse).plan_id == plan.plan_id
    assert f"finish {plan.hash[:12]}" in str(refusal.value)
    return str(refusal.value)


# Gone


def test_too_many_records_gone_stop_the_load_until_a_person_finishes_the_plan(world: World) -> None:
    world.contacts = people()[:90]
    plan = world.plan()
    assert plan.operations == 0
    stopped(world, BreakerOpen, "30 of 120 matched contacts are gone from BMS since the last load, more than 20%")
    world.plan()
    stopped(world, BreakerOpen, "30 of 120")  # also the next plan: time does not heal it
    world.finish()
    world.plan()
    world.load()  # what the person saw is the base from now on
    world.contacts = people()[:70]
    world.plan()
    stopped(world, BreakerOpen, "20 of 90")


@pytest.mark.soak
def test_some_records_gone_are_reported_and_stop_nothing(world: World) -> None:
    world.contacts = people()[24:]  # a fifth: just the share
    world.plan()
    world.load()
    world.set("gone_share", 0.05)
    world.contacts = people()[33:]  # nine more: a share of so few says nothing
    world.plan()
    world.load()
    world.contacts = people()[43:]
    world.plan()
    stopped(world, BreakerOpen, "10 of 87 matched contacts are gone .* more than 5%")


@pytest.mark.soak
def test_what_is_gone_in_small_steps_stops_no_load(world: World) -> None:
    for left in (100, 80, 66):
        world.contacts = people()[-left:]
        world.plan()
        world.load()


@pytest.mark.soak
def test_what_came_back_is_not_gone(world: World) -> None:
    world.contacts = people()[:60]
    world.plan()
    stopped(world, BreakerOpen, "60 of 120")
    world.contacts = people()
    world.plan()
    world.load()


@pytest.mark.soak
def test_a_plan_for_some_clients_or_other_entities_is_no_word_for_what_is_gone(world: World) -> None:
    world.contacts = people()[:60]
    world.plan(Scope(clients=(1,)))
    stopped(world, BreakerOpen, "60 of 120")
    world.finish()
    world.entities = (USERS,)
    world.employees = [employee(1, "Ann", "Lee")]
    world.plan()
    world.load()
    world.entities = TWO
    world.plan()
    stopped(world, BreakerOpen, "60 of 120")


@pytest.mark.soak
def test_all_that_is_wrong_is_told_at_once(world: World) -> None:
    world.contacts = people(changed=20, small_changed=20)[:90]
    world.plan()
    said = stopped(world, BreakerOpen, "30 of 120")
    assert "would update 40 of 90 matched contacts" in said


# Incomplete sweeps


def test_a_list_without_provable_end_updates_what_is_matched_and_leaves_the_rest_to_a_person(world: World) -> None:
    world.passportal_holds(contacts=[in_passportal("P1", "Bob Ray", "C1")])
    world.contacts = [*people(changed=1), contact(5000, 1, "New", "Person"), contact(5001, 1, "Bob", "Ray")]
    world.set("auto_create", {entity.name: True for entity in ENTITIES})
    plan = world.plan()
    assert (plan.operations, plan.waiting) == (3, 0)
    incompletely(world)
    counts = world.load()["contacts"]
    assert (counts["updated"], counts["created"], counts["adopted"], counts["pending"]) == (1, 0, 0, 2)
    assert world.query("SELECT count(*) FROM bms.contacts WHERE missing_since IS NOT NULL") == [(0,)]
    assert world.load()["contacts"]["pending"] == 2
    warnings = figures.status(world.settings, world.warehouse).warnings
    assert any(each.startswith("contacts: not read to a provable end: its records kept moving") for each in warnings)
    counts = world.finish()["contacts"]
    assert (counts["created"], counts["adopted"]) == (1, 1)


def test_a_plan_of_new_records_alone_says_why_it_waits(world: World) -> None:
    world.contacts = [*people(), contact(5000, 1, "New", "Person")]
    world.plan()
    incompletely(world)
    with pytest.raises(
        PlanWaits, match="1 new matches and creates come from lists that were not read to a provable end"
    ):
        world.load()


def test_a_plan_is_made_once_more_when_its_list_was_read_to_the_end(world: World) -> None:
    world.contacts = [*people(), contact(5000, 1, "New", "Person")]
    world.land(complete=False)
    for entity in TWO:
        passportal_snapshot.snapshot(world.settings, world.warehouse, world.passportal, entity)
    world.decide()
    assert planning.make_plan(world.warehouse, TWO, Scope()).unproved == 1
    world.land()
    assert planning.current_plan(world.warehouse).stale
    assert world.plan().unproved == 0
    assert world.load()["contacts"]["created"] == 1


def test_what_is_inside_a_client_that_waits_waits_with_it(world: World) -> None:
    world.set("auto_create", {entity.name: True for entity in ENTITIES})
    world.accounts = [*world.accounts, account(3, "Gamma")]
    world.contacts = [*people(), contact(5000, 3, "New", "Person"), contact(5001, 1, "Other", "Person")]
    world.plan()
    with world.warehouse.transaction() as connection:
        connection.execute("UPDATE sync.sweeps SET complete = false, reason = 'total' WHERE list_call = 'accounts'")
    counts = world.load()
    assert (counts["clients"]["created"], counts["clients"]["pending"]) == (0, 1)
    assert (counts["contacts"]["created"], counts["contacts"]["pending"]) == (1, 1)


def test_before_the_initial_finish_only_a_person_who_names_the_hash_loads_after_an_incomplete_sweep(
    tmp_path: Path,
) -> None:
    with opened_world(tmp_path / "home") as world:
        world.accounts = [account(1, "Acme")]
        world.plan()
        incompletely(world)
        with pytest.raises(SweepIncomplete, match="accounts"):
            unseen(world)
        assert world.titles("client") == []
        assert not planning.current_plan(world.warehouse).approved
        world.finish()


def incompletely(world: World) -> None:
    """Note for each list that is swept that it was not read to a provable end."""
    with world.warehouse.transaction() as connection:
        connection.execute(
            "INSERT INTO sync.sweeps BY NAME SELECT * REPLACE (false AS complete, 'drift' AS reason,"
            " landed_at + INTERVAL 1 MICROSECOND AS landed_at)"
            " FROM sync.sweeps WHERE list_call IN ('accounts', 'contacts')"
            " QUALIFY row_number() OVER (PARTITION BY list_call ORDER BY landed_at DESC) = 1"
        )


def unseen(world: World) -> None:
    """What ``sync --create-unmatched`` does with a plan that nobody looked at."""
    planning.approve_unseen(world.settings, world.warehouse, world.passportal, "a person")


# One client held back


def test_a_client_that_changed_too_much_is_held_back_and_all_others_are_loaded(world: World) -> None:
    world.contacts = people(changed=11, small_changed=5)
    plan = world.plan()
    assert (plan.operations, plan.held_back, plan.needs_approval, plan.waiting) == (16, 11, 0, 11)
    counts = world.load()["contacts"]
    assert (counts["updated"], counts["pending"]) == (5, 11)
    assert changed_titles(world) == 5
    assert not planning.current_plan(world.warehouse).loaded, "it stays open for the rest"
    plan = world.plan()
    assert (plan.operations, plan.held_back) == (11, 11)
    with pytest.raises(PlanWaits, match="11 operations are held back because most of a client would change at once"):
        world.load()
    assert world.finish()["contacts"]["updated"] == 11
    assert changed_titles(world) == 16


@pytest.mark.soak
def test_half_of_a_client_or_fewer_than_ten_records_hold_nothing_back(world: World) -> None:
    world.contacts = people(changed=10)
    assert world.plan().held_back == 0, "just the share"
    world.set("client_update_share", 0.01)
    world.contacts = people(changed=9)
    assert world.plan().held_back == 0
    world.contacts = people(changed=10)
    assert world.plan().held_back == 10


@pytest.mark.soak
def test_before_the_initial_finish_nothing_is_held_back(tmp_path: Path) -> None:
    with opened_world(tmp_path / "home", entities=TWO) as world:
        world.accounts, world.contacts = [account(1, "Acme"), account(2, "Beta")], people()
        world.passportal_holds(clients=[in_passportal("C1", "Acme"), in_passportal("C2", "Beta")])
        world.cycle()  # restricted to two entities, so it does not end the initial sync
        world.contacts = people(changed=20)
        assert (world.plan().operations, world.plan().held_back) == (20, 0)


@pytest.mark.soak
def test_what_is_held_back_makes_no_plan_stale(world: World) -> None:
    world.contacts = people(changed=11)
    plan = world.plan()
    world.accounts.append(account(3, "Gamma"))  # waits for a decision, so nothing is planned for it
    world.land()
    assert planning.current_plan(world.warehouse).stale
    assert world.approve(plan.hash).held_back == 11, "planned anew in a trial, it is the same plan"
    world.contacts = people(changed=12)
    world.plan()
    world.contacts = people(changed=13)
    world.land()
    with pytest.raises(PlanStale, match="contact 13 Person 13: nothing was planned, it is update now"):
        world.load()


def test_the_word_given_before_the_plan_was_made_is_none_for_what_is_held_back(world: World) -> None:
    world.contacts = people(changed=11, small_changed=5)
    world.plan()
    with pytest.raises(BreakerOpen, match="holds back 11 operations"):
        unseen(world)
    assert changed_titles(world) == 0


def test_what_is_held_back_is_shown_in_words_of_its_own(world: World, tmp_path: Path) -> None:
    world.contacts = people(changed=11, small_changed=5)
    world.plan()
    shown = overview(world.warehouse)
    assert shown.held_back == [HeldBack("contacts", 1, "Acme", 11)]
    assert shown.needs_approval == 0
    pending = figures.status(world.settings, world.warehouse).plan
    assert pending is not None
    assert pending.held_back == 11
    write_html(world.warehouse, tmp_path / "plan.html")
    page = (tmp_path / "plan.html").read_text()
    assert "Held back until a person finishes this plan" in page
    assert page.count("; held back, because most of this client would change at once") == 11


@pytest.mark.soak
def test_a_load_held_back_in_part_is_still_one_to_compare_with(world: World) -> None:
    """Its intents say when: an outcome may be settled only after the next sweep, and in no other zone than UTC."""
    world.query("SET GLOBAL TimeZone = 'Australia/Sydney'")
    assert world.query("SELECT current_setting('TimeZone')") == [("Australia/Sydney",)]
    world.contacts = people(changed=11, small_changed=5)[:-20]
    world.plan()
    world.load()
    world.contacts = people(changed=11, small_changed=5)[:-40]
    world.plan()
    world.finish()
    assert world.query("SELECT max(abs(epoch(intent_at) - epoch(outcome_at))) < 60 FROM sync.journal") == [(True,)]
    world.contacts = people(changed=11, small_changed=5)[:-70]
    world.plan()
    stopped(world, BreakerOpen, "30 of 80")


def changed_titles(world: World) -> int:
    """How many contacts have the new job title in Passportal."""
    return len([each for each in world.content() if each.details.get("Job Title") == "b"])


# Vanished from Passportal


def hide(world: World, condition: str) -> None:
    """Take documents out of what the key may see, as a security group does; they stay where they are."""
    world.edit_passportal("CREATE TABLE IF NOT EXISTS hidden AS FROM records LIMIT 0")
    world.edit_passportal(f"INSERT INTO hidden FROM records WHERE {condition}")
    world.edit_passportal(f"DELETE FROM records WHERE {condition}")


def show_again(world: World) -> None:
    """Undo ``hide``."""
    world.edit_passportal("INSERT INTO records FROM hidden")
    world.edit_passportal("DELETE FROM hidden")


OF_BIG = "type = 'contact' AND client_id = 'C1'"


def test_documents_that_one_reading_no_longer_lists_stop_the_load(world: World) -> None:
    hide(world, "type = 'contact' AND marker::INTEGER % 4 = 0")
    plan = world.plan()
    assert plan.operations == 0, "what vanished is not created a second time"
    told = stopped(world, BreakerOpen, "30 of 120 documents of contacts are not listed in Passportal any more")
    assert "a narrowed key, a security group or a deactivated client look like this" in told
    world.plan()
    stopped(world, BreakerOpen, "30 of 120")  # time does not heal it
    world.finish()
    world.plan()
    world.load()  # a person has seen it


def test_documents_that_are_listed_again_stop_nothing(world: World) -> None:
    hide(world, "type = 'contact' AND marker::INTEGER % 4 = 0")
    world.plan()
    show_again(world)
    plan = world.plan()
    assert plan.operations == 0
    world.load()
    assert {found.disposition for found in world.decisions("contacts").values()} == {"matched"}


def test_nothing_is_created_in_a_client_whose_documents_vanished_until_a_person_finishes(world: World) -> None:
    world.set("vanished_share", 0.5)
    hide(world, OF_BIG)
    world.contacts = [*people(), contact(5001, 1, "New", "One"), contact(5002, 2, "New", "Two")]
    plan = world.plan()
    assert plan.held_back == 1
    assert (world.operations("contacts")[5001].operation, world.operations("contacts")[5001].reason) == (
        "create",
        "documents_vanished",
    )
    shown = overview(world.warehouse)
    assert [(row.client_bms_id, row.vanished, row.matched) for row in shown.vanished] == [(1, BIG, BIG)]
    assert shown.held_back == []
    world.load()
    assert "New Two" in world.titles("contact")
    assert "New One" not in world.titles("contact")
    world.plan()
    assert world.operations("contacts")[5001].reason == "documents_vanished", "also the next plan waits"
    assert any("20 of 20 documents of contacts of client 1 Acme" in text for text in warnings_of(world))
    world.finish()
    assert "New One" in world.titles("contact")
    assert world.plan().operations == 0
    assert overview(world.warehouse).vanished == []


def warnings_of(world: World) -> list[str]:
    """What ``status`` warns of."""
    return figures.status(world.settings, world.warehouse).warnings


def test_a_few_documents_deleted_one_by_one_hold_nothing(world: World) -> None:
    world.set("client_vanished_share", 0.1)
    for number in range(1, 13):
        hide(world, f"{OF_BIG} AND marker = '{number}'")
        world.plan()
    world.contacts = [*people(), contact(5001, 1, "New", "One")]
    assert world.plan().held_back == 0
    world.load()
    assert "New One" in world.titles("contact")
