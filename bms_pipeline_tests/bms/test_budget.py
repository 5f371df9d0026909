"""The hourly budget: shared, kept, and never freed early."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime
from pathlib import Path
from threading import Barrier, Timer
from typing import Any

import pytest
from pydantic import SecretStr

from bms_pipeline.bms.budget import Budget
from bms_pipeline.bms.client import BmsClient
from bms_pipeline.core.entities import ASSETS
from bms_pipeline.core.errors import BudgetExhausted, WarehouseBusy, WarehouseError
from bms_pipeline.core.http import Service
from bms_pipeline.core.settings import Settings
from bms_pipeline.reports import figures
from bms_pipeline.state.call_file import CallFile
from bms_pipeline.sync import enrichment
from bms_pipeline_tests.building import new_warehouse

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
    budget = Budget(CallFile(file, clock), 5)
    assert taken(budget) == 5
    assert (budget.left(LIST), budget.left("GET /v2/other")) == (0, 5)
    budget.take("GET /v2/other")
    assert set(budget.usage()) == {LIST, "GET /v2/other"}
    budget.close()


def test_a_sliding_hour_never_sees_more_than_the_limit(file: Path, clock: Clock) -> None:
    budget = Budget(CallFile(file, clock), 60)
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
    budget = Budget(CallFile(file, clock), 2)
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
    first = Budget(CallFile(file, clock), 5)
    for _ in range(3):
        first.take(LIST)
    again = Budget(CallFile(file, clock), 5)  # the first one was not closed: it crashed
    assert again.left(LIST) == 2
    first.close()
    again.close()


def test_two_processes_and_their_threads_share_it(file: Path) -> None:
    code = f"""
import sys; from concurrent.futures import ThreadPoolExecutor; from pathlib import Path
from bms_pipeline.bms.budget import Budget; from bms_pipeline.core.errors import BudgetExhausted
from bms_pipeline.state.call_file import CallFile
budget = Budget(CallFile(Path(sys.argv[1])), 500)
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
import sys; from pathlib import Path; from bms_pipeline.reports import figures
from bms_pipeline.sync import enrichment
from bms_pipeline.bms.budget import Budget
from bms_pipeline.state.call_file import CallFile
from bms_pipeline.bms.client import BmsClient
budget = Budget(CallFile(Path(sys.argv[1])), 500); budget.take({LIST!r}); print(budget.left({LIST!r})); budget.close()
"""

    def elsewhere() -> int:
        run = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True)
        return int(run.stdout)

    first, second = Budget(CallFile(file), 500), Budget(CallFile(file), 500)
    first.take(LIST)
    second.close()
    assert elsewhere() == 498
    first.take(LIST)
    assert first.left(LIST) == 497
    first.close()
    assert elsewhere() == 496


def test_a_clock_set_back_frees_nothing(file: Path, clock: Clock) -> None:
    budget = Budget(CallFile(file, clock), 5)
    for _ in range(5):
        budget.take(LIST)
    for back in (30, 3600, 7200, 365 * 86400):
        clock.now = START - back
        assert budget.left(LIST) == 0, f"{back} seconds back"
    fresh = Budget(CallFile(file, clock), 5)
    assert fresh.left(LIST) == 0
    # ... and does not block for a year either: what happened "in future" counts as happened now.
    clock.now += 3700
    assert fresh.left(LIST) == 5
    budget.close()
    fresh.close()


def test_a_clock_that_goes_back_and_forth_frees_nothing_within_the_hour(file: Path, clock: Clock) -> None:
    budget = Budget(CallFile(file, clock), 5)
    for _ in range(5):
        budget.take(LIST)
    for offset in (-600, 0, -1800, -60, 900):
        clock.now = START + offset
        assert budget.left(LIST) == 0
    budget.close()


def test_only_its_owner_can_read_it(file: Path, clock: Clock) -> None:
    budget = Budget(CallFile(file, clock), 5)
    budget.take(LIST)
    modes = {stat.S_IMODE(each.stat().st_mode) for each in file.parent.iterdir()}
    assert modes == {0o600}
    budget.close()


def test_a_lowered_limit_counts_at_once(file: Path, clock: Clock) -> None:
    wide = Budget(CallFile(file, clock), 10)
    for _ in range(8):
        wide.take(LIST)
    narrow = Budget(CallFile(file, clock), 3)
    assert narrow.left(LIST) == 0
    free_at = narrow.usage()[LIST]["free_at"]
    assert free_at is not None
    wide.close()
    narrow.close()


def test_a_broken_file_is_named(file: Path) -> None:
    file.parent.mkdir()
    file.write_bytes(b"this is not a database" * 100)
    with pytest.raises(WarehouseError, match=r"budget\.sqlite") as caught:
        Budget(CallFile(file), 5)
    assert "Delete it" in caught.value.next_step


def test_details_may_have_a_lower_limit_than_the_rest(tmp_path: Path) -> None:
    """Where a tenant's limit turns out to be shared between a list and its details."""
    assert ASSETS.details is not None
    details = ASSETS.details.endpoint
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
    with closing(sqlite3.connect(file)) as old, old:
        old.execute("CREATE TABLE calls (endpoint TEXT, minute INTEGER, n INTEGER, PRIMARY KEY (endpoint, minute))")
        old.executemany("INSERT INTO calls VALUES (?, ?, ?)", [(LIST, START // 60 - 10, 3), (LIST, START // 60, 2)])
    for _ in range(2):  # taken over once, however often the file is opened
        budget = Budget(CallFile(file, clock), 10)
        assert budget.left(LIST) == 5
        budget.close()
    budget = Budget(CallFile(file, clock), 10)
    clock.now = START - 600 + 3600 + 59  # called in this minute, an hour ago, perhaps in its last second
    assert budget.left(LIST) == 5
    clock.now += 7
    assert budget.left(LIST) == 8
    clock.now = START + 3666
    assert budget.left(LIST) == 10
    budget.close()


def steps_of_a_call(file: Path, clock: Clock, endpoints: list[str]) -> int:
    """Steps of SQLite's virtual machine for a call to ``LIST`` where each of ``endpoints`` was called all hour long.

    They are the same on every machine and under any load.
    """
    steps: list[None] = []
    calls = CallFile(file, clock)
    with closing(Budget(calls, 10**6)) as budget:
        for _ in range(720):
            clock.now += 5
            for endpoint in endpoints:
                budget.take(endpoint)
        calls._connection.set_progress_handler(lambda: steps.append(None), 1)
        budget.take(LIST)
        calls._connection.set_progress_handler(None, 1)
    return len(steps)


def test_a_call_looks_at_an_hour_of_its_own_endpoint_and_at_no_other(file: Path, clock: Clock) -> None:
    alone = steps_of_a_call(file, clock, [LIST])
    among_others = steps_of_a_call(file.with_name("others"), clock, [LIST, *"abcde"])
    assert among_others <= alone + 10, "where the endpoint's hour ends, the next one's begins"
    assert alone < 20 * 720, "some steps for each span of the hour"


def test_a_new_file_may_be_opened_by_several_at_once(file: Path) -> None:
    """SQLite itself turns one of two away at once. Each round is a new file, opened by four threads together."""
    together = Barrier(4)

    def open_and_take(round_: int) -> None:
        together.wait()
        with closing(Budget(CallFile(file.with_name(f"{round_}.sqlite")), 4)) as budget:
            budget.take(LIST)

    for round_ in range(25):
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(open_and_take, [round_] * 4))
        with closing(Budget(CallFile(file.with_name(f"{round_}.sqlite")), 4)) as budget:
            assert budget.left(LIST) == 0


def test_a_new_file_that_another_process_is_writing_to_is_waited_for(file: Path) -> None:
    file.parent.mkdir()
    with closing(sqlite3.connect(file, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        release = Timer(0.2, lambda: other.execute("COMMIT"))
        release.start()
        with closing(Budget(CallFile(file), 5)) as budget:
            assert budget.left(LIST) == 5
        release.join()


def test_a_file_that_stays_busy_is_not_waited_for_for_ever(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bms_pipeline.state.call_file.BUSY_SECONDS", 0.1)
    file.parent.mkdir()
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(WarehouseBusy, match=r"budget\.sqlite"):
            Budget(CallFile(file), 5)


def is_open(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("SELECT 1")
    except sqlite3.ProgrammingError:
        return False
    return True


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[sqlite3.Connection]:
    """Every connection that the test opens. Python reports one that nobody closes since 3.13 only."""
    connections: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def noting(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connections.append(connect(*arguments, **options))
        return connections[-1]

    monkeypatch.setattr(sqlite3, "connect", noting)
    return connections


def test_a_file_that_cannot_be_used_is_not_left_open(file: Path, opened: list[sqlite3.Connection]) -> None:
    file.parent.mkdir()
    file.write_bytes(b"this is not a database" * 100)
    with pytest.raises(WarehouseError):
        Budget(CallFile(file), 5)
    assert [is_open(connection) for connection in opened] == [False]


def test_who_asks_for_the_state_of_things_leaves_nothing_open(
    tmp_path: Path, opened: list[sqlite3.Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(_env_file=None, bms_pipeline_home=tmp_path)  # type: ignore[call-arg]
    warehouse = new_warehouse(settings.warehouse_file)
    assert figures.status(settings, warehouse).budget == {}
    monkeypatch.setattr(enrichment, "details_left", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        figures.status(settings, warehouse)
    assert [is_open(connection) for connection in opened] == [False, False]


def test_a_client_whose_connections_do_not_close_closes_the_budget_all_the_same(
    tmp_path: Path, opened: list[sqlite3.Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(
        _env_file=None, bms_pipeline_home=tmp_path, bms_url="http://127.0.0.1:9", bms_tenant="T", bms_username="U",
        bms_password=SecretStr("P"),
    )  # type: ignore[call-arg]  # fmt: skip
    client = BmsClient(settings)
    service = Service("http://127.0.0.1:9", name="BMS")
    monkeypatch.setattr(client, "_found", service)
    monkeypatch.setattr(service, "close", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError), client:
        pass
    assert [is_open(connection) for connection in opened] == [False]
