"""Where a list ends: nothing is lost and called complete, and no service makes it ask on and on."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bms_pipeline.bms.sweep.ending import LOOK_PAST, Answered, Ending, Known, Question, Total
from bms_pipeline.bms.sweep.manifest import Manifest
from bms_pipeline.bms.sweep.sweeper import sweep
from bms_pipeline_tests.bms.moving_list import SOME, UNCOUNTED
from bms_pipeline_tests.bms.odd_list import Beyond, Counts, OddList
from bms_pipeline_tests.bms.test_sweep import home_of, landed_ids
from bms_pipeline_tests.exploring import examples

ALWAYS = 10**9


def read(listing: OddList, folder: Path) -> tuple[Manifest, set[object]]:
    """Sweep it; what was proved, and the ids in the files."""
    manifest = sweep(listing, UNCOUNTED if listing.counts == "nothing" else SOME, folder, connections=2)
    return manifest, landed_ids(home_of(folder, manifest))


def outcome(listing: OddList, folder: Path) -> tuple[str, int]:
    """Why it is not complete ("" if it is), and how many records were read."""
    manifest, ids = read(listing, folder)
    assert manifest.complete == (not manifest.reason)
    return manifest.reason, len(ids)


# An empty or short page in the middle


@pytest.mark.parametrize("counts", ["nothing", "list"])
@pytest.mark.parametrize("leaves", [0, 40])
@pytest.mark.parametrize("page", [1, 2, 3, 5, 7, 8])
def test_a_page_that_is_empty_or_short_once_loses_nothing(
    page: int, leaves: int, counts: Counts, tmp_path: Path
) -> None:
    listing = OddList(730, counts=counts, damaged=range(page, page + 1), leaves=leaves, times=1)
    assert outcome(listing, tmp_path) == ("", 730)


@pytest.mark.parametrize(
    ("pages", "leaves", "reason", "read_all_the_same"),
    [
        (range(3, 4), 0, "gap", 630),
        (range(3, 6), 0, "gap", 430),
        (range(3, 4), 99, "short", 729),
        (range(1, 2), 0, "gap", 630),
        (range(3, 7), 0, "unproved", 200),
    ],
    ids=["one", "three", "short", "the first", "more than are looked past"],
)
def test_a_page_that_is_always_empty_or_short_is_read_past_and_proves_nothing(
    pages: range, leaves: int, reason: str, read_all_the_same: int, tmp_path: Path
) -> None:
    assert outcome(OddList(730, damaged=pages, leaves=leaves), tmp_path) == (reason, read_all_the_same)


def test_with_a_total_a_page_that_is_always_empty_is_missed(tmp_path: Path) -> None:
    assert outcome(OddList(730, counts="list", damaged=range(3, 4)), tmp_path) == ("total", 630)


# One answer, and nothing else that speaks for it


def test_an_empty_page_after_a_short_one_is_asked_for_again_and_the_list_may_go_on_there() -> None:
    ending = Ending(Known(last=3, rows=40, size=100, is_regular=True, total=Total.ABSENT, asked=100))
    ending.take(Answered.EMPTY)
    assert (ending.question, ending.end) == (Question(4), None)
    ending.take(Answered.NEW)
    assert (ending.goes_on_at, ending.end) == (4, None)


def test_a_first_page_that_is_short_shows_no_end_because_none_says_how_long_a_full_one_is() -> None:
    """A service may clamp a page to any size: so the pages after it are looked at too."""
    ending = Ending(Known(last=1, rows=40, size=100, is_regular=True, total=Total.ABSENT, asked=100))
    asked = []
    while ending.question is not None:
        asked.append(ending.question.number)
        ending.take(Answered.EMPTY)
    assert asked[-LOOK_PAST:] == [3, 4, 5]


# Past the end


@pytest.mark.parametrize(
    ("beyond", "reason"), [("empty", ""), ("first", "repeats"), ("last", "repeats"), ("refused", "unproved")]
)
@pytest.mark.parametrize("records", [30, 100, 730, 2600])
def test_whatever_comes_past_the_end_all_is_read(records: int, beyond: Beyond, reason: str, tmp_path: Path) -> None:
    manifest, ids = read(OddList(records, beyond=beyond), tmp_path / "without")
    assert len(ids) == records
    # Unless a page of another size shows the end.
    assert manifest.reason == reason or (records != 730 and reason == "repeats" and manifest.complete)
    assert manifest.calls_made <= records / 100 + 60
    counted = OddList(records, beyond=beyond, counts="list")
    assert outcome(counted, tmp_path / "with") == ("", records), "the total, or a page of another size, shows the end"


@pytest.mark.parametrize("counts", ["nothing", "list"])
def test_a_service_that_ignores_page_numbers_is_named_after_a_few_calls(counts: Counts, tmp_path: Path) -> None:
    manifest, ids = read(OddList(730, counts=counts, ignores_number=True), tmp_path)
    assert (manifest.reason, len(ids)) == ("repeats", 100)
    assert manifest.calls_made <= 10


@pytest.mark.parametrize("records", [3, 30, 730])
def test_everything_in_one_answer(records: int, tmp_path: Path) -> None:
    counted = OddList(records, sends_all=True, counts="list")
    assert outcome(counted, tmp_path / "with") == ("", records)
    reason, number = outcome(OddList(records, sends_all=True), tmp_path / "without")
    assert number == records
    assert reason in ("", "unproved"), "730 may be a page of a service that ignores how many were asked for"


# Clamps


@pytest.mark.parametrize("clamp", [1, 2, 7, 25, 50, 51, 60, 99])
@pytest.mark.parametrize("counts", ["list", "nothing"])
def test_a_clamp_of_any_size(clamp: int, counts: Counts, tmp_path: Path) -> None:
    for records in sorted({1, clamp - 1, clamp, clamp + 1, 70, 3 * clamp, 3 * clamp + 1} - {0}):
        reason, number = outcome(OddList(records, clamp, counts=counts), tmp_path / str(records))
        assert number == records
        # Where every page has one or two records, none of another size can show the end.
        assert reason == "" or (clamp <= 2 and counts == "nothing"), (records, reason)


@pytest.mark.parametrize("counts", ["its page", "fewer", "more", "zero"])
def test_a_total_that_is_wrong_hides_nothing(counts: Counts, tmp_path: Path) -> None:
    for clamp in (25, 100):
        reason, number = outcome(OddList(265, clamp, counts=counts), tmp_path / str(clamp))
        assert reason in ("total", "drift"), "a total that counts its page moves while the list is read"
        assert number == 265


def test_another_order_in_each_call(tmp_path: Path) -> None:
    assert outcome(OddList(70, shuffles=True, counts="list"), tmp_path / "a") == ("", 70)
    for seed, counts in enumerate(("list", "nothing")):
        manifest, ids = read(OddList(730 + seed, shuffles=True, counts=counts), tmp_path / counts)  # type: ignore[arg-type]
        assert not manifest.complete or len(ids) == 730 + seed


# All of it at random

PAGES_DAMAGED = st.builds(lambda first, number: range(first, first + number), st.integers(1, 12), st.integers(0, 3))


ODD_LISTS = st.builds(
    OddList,
    st.integers(0, 900),
    st.sampled_from([3, 7, 25, 50, 60, 99, 100]),
    beyond=st.sampled_from(["empty", "first", "last", "refused"]),
    counts=st.sampled_from(["list", "nothing", "its page", "fewer", "more", "zero"]),
    ignores_number=st.booleans(),
    ignores_size=st.booleans(),
    sends_all=st.booleans(),
    shuffles=st.booleans(),
    damaged=PAGES_DAMAGED,
    leaves=st.integers(0, 2),
    times=st.sampled_from([1, ALWAYS]),
)


@examples(100, 1000)
@given(listing=ODD_LISTS)
def test_no_service_makes_it_lose_a_record_and_call_that_complete(listing: OddList) -> None:
    # A wrong total that is by chance the number of what is to be seen cannot be seen through.
    visible = listing.records - len(listing.hidden)
    assume(not listing.hidden or visible not in (listing.records - 1, 0))
    # Nor can, without a total, a last page that never brings all of its records: it is short in any case.
    last = 1 if listing.sends_all else -(-listing.records // listing.clamp)
    assume(not (listing.hidden and listing.leaves and last in listing.damaged))
    with tempfile.TemporaryDirectory() as folder:
        manifest, ids = read(listing, Path(folder))
        assert not manifest.complete or len(ids) == listing.records
        pages = 1 if listing.sends_all else listing.records // listing.clamp + 1
        # Drawing records at random without end is what takes longest to see through.
        assert manifest.calls_made <= 150 + 20 * pages
