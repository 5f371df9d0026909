"""What a tick decides: pure functions, so every case is one line."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bms_pipeline.core.entities import ACCOUNTS, CONTACTS_LIST, EMPLOYEES
from bms_pipeline.defs import ticks
from bms_pipeline.defs.ticks import LaunchWanted, ListSize, Skip, Waiting
from bms_pipeline.sync.state_file import ListState, PipelineState, PublishedPlan

NEWEST = "2026-03-01T10:00:00"
FINISHED = PipelineState(
    at="2026-03-01T11:00:00",
    initial_sync_finished=True,
    clients=[3, 7],
    lists={
        "accounts": ListState(500, NEWEST),
        "contacts": ListState(2000, NEWEST),
        "employees": ListState(50, None),
        "assets": ListState(5000, None),
    },
    waiting={"clients": 2, "users": 0},
    auto_create={"clients": True, "users": True, "locations": True, "contacts": True, "assets": True},
    plan=None,
    details_waiting=0,
)
NOT_FINISHED = msgspec.structs.replace(FINISHED, initial_sync_finished=False)


def published(**changes: Any) -> PipelineState:
    return msgspec.structs.replace(FINISHED, **changes)


def test_a_scheduled_sync_waits_for_the_first_finish_and_never_piles_up() -> None:
    assert isinstance(ticks.scheduled_sync(FINISHED, 0), LaunchWanted)
    assert ticks.scheduled_sync(None, 0) == Skip(ticks.NEVER)
    assert ticks.scheduled_sync(NOT_FINISHED, 0) == Skip(ticks.NOT_FINISHED)
    assert isinstance(ticks.scheduled_sync(FINISHED, 1), Skip)


@given(st.lists(st.integers(1, 50), unique=True), st.sets(st.integers(1, 50)))
def test_the_partitions_become_the_linked_clients(linked: list[int], known: set[int]) -> None:
    names = {str(each) for each in known}
    changes = ticks.partition_changes(published(clients=linked), names)
    assert (names | set(changes.new)) - set(changes.gone) == {str(each) for each in linked}
    assert names.isdisjoint(changes.new)
    assert set(changes.gone) <= names
    again = ticks.partition_changes(published(clients=linked), {str(each) for each in linked})
    assert (again.new, again.gone) == ([], [])


def test_before_anything_was_published_no_partition_is_taken_away() -> None:
    assert ticks.partition_changes(None, {"3"}) == ticks.PartitionChanges([], [])


@pytest.mark.parametrize(
    ("auto_create", "watched"),
    [
        ({"clients"}, [ACCOUNTS]),
        ({"locations"}, [ACCOUNTS]),
        ({"contacts"}, [CONTACTS_LIST]),
        ({"users", "clients"}, [ACCOUNTS, EMPLOYEES]),
    ],
)
def test_only_lists_whose_records_are_created_by_themselves_are_asked(
    auto_create: set[str], watched: list[Any]
) -> None:
    toggles = {each: each in auto_create for each in FINISHED.auto_create}
    assert ticks.lists_to_watch(published(auto_create=toggles)) == watched


@pytest.mark.parametrize("auto_create", [set(), {"assets"}])
def test_nothing_is_asked_where_it_would_tell_nothing(auto_create: set[str]) -> None:
    toggles = {each: each in auto_create for each in FINISHED.auto_create}
    assert isinstance(ticks.lists_to_watch(published(auto_create=toggles)), Skip)
    assert ticks.lists_to_watch(NOT_FINISHED) == Skip(ticks.NOT_FINISHED)
    assert ticks.lists_to_watch(None) == Skip(ticks.NEVER)


def test_a_record_created_after_what_is_landed_is_new_and_asked_for_once() -> None:
    page = [ListSize(1, "2026-02-01T00:00:00"), ListSize(9, "2026-03-01T10:00:01")]
    first = ticks.new_records(FINISHED, {ACCOUNTS: page}, {})
    assert isinstance(first, LaunchWanted)
    assert first.why == "1 new in accounts"
    assert first == ticks.new_records(FINISHED, {ACCOUNTS: page[::-1]}, {}), "the same key: Dagster launches it once"
    more = ticks.new_records(FINISHED, {ACCOUNTS: [*page, ListSize(10, "2026-03-01T10:00:02")]}, {})
    assert isinstance(more, LaunchWanted)
    assert more.key != first.key


def test_an_edited_record_or_one_without_a_stamp_is_not_new() -> None:
    page = [ListSize(1, "2026-02-01T00:00:00"), ListSize(2, None), ListSize(3, NEWEST)]
    assert isinstance(ticks.new_records(FINISHED, {ACCOUNTS: page, CONTACTS_LIST: []}, {EMPLOYEES: 50}), Skip)


def test_a_list_without_stamps_tells_by_its_total() -> None:
    assert isinstance(ticks.new_records(FINISHED, {}, {EMPLOYEES: 49}), Skip)
    assert isinstance(ticks.new_records(FINISHED, {}, {EMPLOYEES: None}), Skip)
    launch = ticks.new_records(FINISHED, {}, {EMPLOYEES: 52})
    assert isinstance(launch, LaunchWanted)
    assert launch.why == "2 more in employees"


def test_details_are_read_when_some_wait_and_enough_calls_are_left() -> None:
    waiting = published(details_waiting=1000)
    assert isinstance(ticks.details_due(waiting, 0, 1500, 1500, 0), LaunchWanted)
    assert isinstance(ticks.details_due(waiting, 1000, 1500, 1500, 0), Skip), "all of them are read and not landed yet"
    assert isinstance(ticks.details_due(waiting, 0, 249, 1500, 0), Skip), "a run takes longer to start than to do that"
    assert isinstance(ticks.details_due(waiting, 990, 10, 1500, 0), LaunchWanted), "the last few need no more than that"
    assert isinstance(ticks.details_due(waiting, 0, 1500, 1500, 1), Skip)
    assert isinstance(ticks.details_due(None, 0, 1500, 1500, 0), Skip)
    assert isinstance(ticks.details_due(FINISHED, 0, 1500, 1500, 0), Skip)


def test_people_are_told_once_when_more_waits_than_they_knew_of() -> None:
    first = ticks.decisions_waiting(FINISHED, Waiting({}, 0))
    assert (first.text, first.plan_hash) == ("2 clients wait for a decision.", None)
    assert ticks.decisions_waiting(FINISHED, first.known) == ticks.Growth("", first.known)
    more = published(waiting={"clients": 3})
    assert ticks.decisions_waiting(more, first.known).text == "3 clients wait for a decision."
    less = ticks.decisions_waiting(published(waiting={"clients": 1}), first.known)
    assert less.text == ""
    assert ticks.decisions_waiting(FINISHED, less.known).text, "what rose again is told again"


def test_a_plan_that_waits_is_told_with_its_hash_and_not_again_when_it_is_made_anew() -> None:
    waits = published(waiting={}, plan=PublishedPlan("abcdef0123456789", 12))
    first = ticks.decisions_waiting(waits, Waiting({}, 0))
    assert "12 operations" in first.text
    assert "bms-pipeline finish abcdef012345" in first.text
    assert first.plan_hash == "abcdef0123456789"
    anew = published(waiting={}, plan=PublishedPlan("ffff", 12))
    again = ticks.decisions_waiting(anew, first.known)
    assert (again.text, again.plan_hash) == ("", None)
    assert ticks.decisions_waiting(anew, replace(first.known, operations=11)).plan_hash == "ffff"


def test_before_the_first_finish_only_the_plan_is_told() -> None:
    waits = msgspec.structs.replace(NOT_FINISHED, plan=PublishedPlan("abcdef0123456789", 12))
    assert ticks.decisions_waiting(waits, Waiting({}, 0)).text.startswith("Plan abcdef012345")
    assert ticks.decisions_waiting(None, Waiting({"clients": 1}, 0)) == ticks.Growth("", Waiting({"clients": 1}, 0))
