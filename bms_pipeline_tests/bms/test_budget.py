"""The hourly budget: shared, kept, and never freed early."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest

from bms_pipeline.bms.budget import Budget
from bms_pipeline.entities import ASSET_RECORDS
from bms_pipeline.errors import BudgetExhausted, WarehouseError
from bms_pipeline.settings import Settings

LIST = "GET /v2/crm/accounts/summary"
START = 1_800_000_000.0


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "home" / "budget.sqlite"


def taken(budget: Budget, endpoint: str = LIST) -> int:
    """Take until nothing is left; return how many there were."""
    count = 0
    while budget.left(endpoint):
        budget.take(endpoint)
        count += 1
    with pytest.raises(BudgetExhausted):
        budget.take(endpoint)
    return count


def test_no_more_than_the_limit_and_each_endpoint_for_itself(file: Path, clock: Clock) -> None:
    budget = Budget(file, 5, clock)
    assert taken(budget) == 5
    assert (budget.left(LIST), budget.left("GET /v2/other")) == (0, 5)
    budget.take("GET /v2/other")
    assert set(budget.usage()) == {LIST, "GET /v2/other"}
    budget.close()


def test_a_sliding_hour_never_sees_more_than_the_limit(file: Path, clock: Clock) -> None:
    budget = Budget(file, 60, clock)
    sent: list[float] = []
    for _ in range(4 * 1200):
        clock.now += 3
        try:
            budget.take(LIST)
        except BudgetExhausted:
            continue
        sent.append(clock.now)
    assert max(sum(moment - 3600 < each <= moment for each in sent) for moment in sent) == 60
    assert len(sent) >= 239, "at most five seconds of each hour are wasted"
    budget.close()


def test_the_refusal_says_how_many_and_when(file: Path, clock: Clock) -> None:
    budget = Budget(file, 2, clock)
    budget.take(LIST)
    clock.now += 600
    budget.take(LIST)
    with pytest.raises(BudgetExhausted, match="2 of 2 calls to GET /v2/crm/accounts/summary") as caught:
        budget.take(LIST)
    free_at = budget.usage()[LIST]["free_at"]
    assert free_at is not None
    free = datetime.fromisoformat(free_at).timestamp()
    assert START + 3600 <= free <= START + 3605
    assert budget.wait(LIST) == free - clock.now
    assert f"{datetime.fromtimestamp(free):%H:%M}" in str(caught.value)
    assert "continues where it stopped" in caught.value.next_step
    clock.now = free
    assert budget.wait(LIST) == 0
    budget.take(LIST)
    budget.close()


def test_it_outlives_the_process(file: Path, clock: Clock) -> None:
    first = Budget(file, 5, clock)
    for _ in range(3):
        first.take(LIST)
    again = Budget(file, 5, clock)  # the first one was not closed: it crashed
    assert again.left(LIST) == 2
    first.close()
    again.close()


def test_two_processes_and_their_threads_share_it(file: Path) -> None:
    code = f"""
import sys; from concurrent.futures import ThreadPoolExecutor; from pathlib import Path
from bms_pipeline.bms.budget import Budget; from bms_pipeline.errors import BudgetExhausted
budget = Budget(Path(sys.argv[1]), 500)
def take(_):
    try: budget.take({LIST!r}); return 1
    except BudgetExhausted: return 0
with ThreadPoolExecutor(4) as pool: print(sum(pool.map(take, range(400))))
"""
    command = [sys.executable, "-c", code, str(file)]
    with ThreadPoolExecutor(2) as pool:
        runs = pool.map(lambda _: subprocess.run(command, capture_output=True, text=True, check=True), range(2))
    assert sum(int(run.stdout) for run in runs) == 500


def test_one_process_may_open_it_twice_while_others_come_and_go(file: Path) -> None:
    """SQLite's locks end when their process closes the file anywhere; then another process took the counts along."""
    code = f"""
import sys; from pathlib import Path; from bms_pipeline.bms.budget import Budget
budget = Budget(Path(sys.argv[1]), 500); budget.take({LIST!r}); print(budget.left({LIST!r})); budget.close()
"""

    def elsewhere() -> int:
        run = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True)
        return int(run.stdout)

    first, second = Budget(file, 500), Budget(file, 500)
    first.take(LIST)
    second.close()
    assert elsewhere() == 498
    first.take(LIST)
    assert first.left(LIST) == 497
    first.close()
    assert elsewhere() == 496


def test_a_clock_set_back_frees_nothing(file: Path, clock: Clock) -> None:
    budget = Budget(file, 5, clock)
    for _ in range(5):
        budget.take(LIST)
    for back in (30, 3600, 7200, 365 * 86400):
        clock.now = START - back
        assert budget.left(LIST) == 0, f"{back} seconds back"
    fresh = Budget(file, 5, clock)
    assert fresh.left(LIST) == 0
    # ... and does not block for a year either: what happened "in future" counts as happened now.
    clock.now += 3700
    assert fresh.left(LIST) == 5
    budget.close()
    fresh.close()


def test_a_clock_that_goes_back_and_forth_frees_nothing_within_the_hour(file: Path, clock: Clock) -> None:
    budget = Budget(file, 5, clock)
    for _ in range(5):
        budget.take(LIST)
    for offset in (-600, 0, -1800, -60, 900):
        clock.now = START + offset
        assert budget.left(LIST) == 0
    budget.close()


def test_only_its_owner_can_read_it(file: Path, clock: Clock) -> None:
    budget = Budget(file, 5, clock)
    budget.take(LIST)
    modes = {stat.S_IMODE(each.stat().st_mode) for each in file.parent.iterdir()}
    assert modes == {0o600}
    budget.close()


def test_a_lowered_limit_counts_at_once(file: Path, clock: Clock) -> None:
    wide = Budget(file, 10, clock)
    for _ in range(8):
        wide.take(LIST)
    narrow = Budget(file, 3, clock)
    assert narrow.left(LIST) == 0
    free_at = narrow.usage()[LIST]["free_at"]
    assert free_at is not None
    wide.close()
    narrow.close()


def test_a_broken_file_is_named(file: Path) -> None:
    file.parent.mkdir()
    file.write_bytes(b"this is not a database" * 100)
    with pytest.raises(WarehouseError, match=r"budget\.sqlite") as caught:
        Budget(file, 5)
    assert "Delete it" in caught.value.next_step


def test_details_may_have_a_lower_limit_than_the_rest(tmp_path: Path) -> None:
    """Where a tenant's limit turns out to be shared between a list and its details."""
    assert ASSET_RECORDS.details is not None
    details = ASSET_RECORDS.details.endpoint
    for calls, limit in ((None, 10), (4, 4), (12, 10)):
        settings = Settings(
            _env_file=None, bms_pipeline_home=tmp_path, bms_calls_per_hour=10, bms_details_calls_per_hour=calls
        )  # type: ignore[call-arg]
        budget = Budget.of(settings)
        assert (budget.left(details), budget.left(LIST)) == (limit, 10)
        budget.close()


def test_what_an_earlier_version_counted_by_the_minute_is_neither_lost_nor_freed_early(
    file: Path, clock: Clock
) -> None:
    file.parent.mkdir()
    with sqlite3.connect(file) as old:
        old.execute("CREATE TABLE calls (endpoint TEXT, minute INTEGER, n INTEGER, PRIMARY KEY (endpoint, minute))")
        old.executemany("INSERT INTO calls VALUES (?, ?, ?)", [(LIST, START // 60 - 10, 3), (LIST, START // 60, 2)])
    old.close()
    for _ in range(2):  # taken over once, however often the file is opened
        budget = Budget(file, 10, clock)
        assert budget.left(LIST) == 5
        budget.close()
    budget = Budget(file, 10, clock)
    clock.now = START - 600 + 3600 + 59  # called in this minute, an hour ago, perhaps in its last second
    assert budget.left(LIST) == 5
    clock.now += 7
    assert budget.left(LIST) == 8
    clock.now = START + 3666
    assert budget.left(LIST) == 10
    budget.close()


def test_taking_a_call_from_a_full_hour_costs_next_to_nothing(file: Path, clock: Clock) -> None:
    budget = Budget(file, 10**6, clock)
    for _ in range(720):
        clock.now += 5
        budget.take(LIST)
    taken = []
    for _ in range(200):
        began = time.perf_counter()
        budget.take(LIST)
        taken.append(time.perf_counter() - began)
    assert sorted(taken)[100] < 0.001
    budget.close()
