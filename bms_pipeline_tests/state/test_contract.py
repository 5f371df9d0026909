"""What every place for the state promises: the same tests for the home folder and for PostgreSQL."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bms_pipeline.bms.budget import Budget
from bms_pipeline.core.errors import BudgetExhausted, RunLocked
from bms_pipeline.core.run_status import RunName
from bms_pipeline.passportal.documents.last_write import LastWrite
from bms_pipeline.state.call_file import CallFile
from bms_pipeline.state.folder import FolderState
from bms_pipeline.state.postgres import PostgresState
from bms_pipeline.state.postgres_calls import PostgresCalls
from bms_pipeline.state.protocol import SPAN_SECONDS, CallCounter, LockName, StateDocument, StateStore
from bms_pipeline.state.recording import read_status, recording
from bms_pipeline_tests.exploring import examples

NOW = datetime(2026, 11, 26, 12, 0)
LIST = "GET /v2/crm/accounts/summary"
START = 1_800_000_000.0


@pytest.mark.parametrize("document", list(StateDocument))
def test_a_document_is_read_as_it_was_written_last(
    state: StateStore, elsewhere: StateStore, document: StateDocument
) -> None:
    assert state.read(document) is None
    with state.locked(LockName.RUN, "a run", NOW):
        for content in (b"2026-01-01T00:00:00.000001", b"2026-01-01T00:00:00.000002"):
            state.write(document, content)
            assert (state.read(document), elsewhere.read(document)) == (content, content)


def test_a_document_is_found_where_the_state_says(state: StateStore) -> None:
    assert all(
        document in state.named(document) for document in (StateDocument.PIPELINE_STATE, StateDocument.RUN_STATUS)
    )


@pytest.mark.parametrize("document", list(StateDocument))
def test_a_document_that_was_forgotten_is_none_everywhere(
    state: StateStore, elsewhere: StateStore, document: StateDocument
) -> None:
    state.forget(document)
    state.write(document, b"2026-01-01T00:00:00.000001") if document is not StateDocument.LAST_WRITE else None
    state.forget(document)
    assert (state.read(document), elsewhere.read(document)) == (None, None)


@pytest.mark.parametrize("kind", ["import_files", "before_images"])
def test_a_file_is_read_elsewhere_and_moved_whole(state: StateStore, elsewhere: StateStore, kind: str) -> None:
    here, there = getattr(state, kind), getattr(elsewhere, kind)
    assert (list(here.names()), here.read("1.json")) == ([], None)
    here.write("1.json", b"first")
    here.write("2.json", b"second")
    here.write("1.json", b"again")
    assert (list(there.names()), there.read("1.json")) == (["1.json", "2.json"], b"again")
    for name in ("1.json", "2.json"):  # the second takes the place of the first
        there.move(name, "old/1.json")
    assert (list(here.names()), here.read("1.json"), here.read("old/1.json")) == ([], None, b"second")
    assert "2.json" in here.named("2.json")


def test_the_files_of_one_kind_are_not_those_of_another(state: StateStore) -> None:
    state.import_files.write("1.json", b"a file")
    assert (list(state.before_images.names()), state.before_images.read("1.json")) == ([], None)


def test_a_second_run_is_refused_and_learns_who_is_at_work(state: StateStore, elsewhere: StateStore) -> None:
    with (
        state.locked(LockName.RUN, "Dagster run 1234abcd", NOW) as lock,
        pytest.raises(RunLocked) as refused,
        elsewhere.locked(LockName.RUN, "bms-pipeline sync", NOW),
    ):
        raise AssertionError
    lock_of_the_next = elsewhere.locked(LockName.RUN, "bms-pipeline sync", NOW)
    with lock_of_the_next as lock:
        lock.check()
    assert f"Dagster run 1234abcd (process {os.getpid()}, since 2026-11-26 12:00:00 UTC)" in refused.value.message


def test_reading_details_waits_for_no_run(state: StateStore, elsewhere: StateStore) -> None:
    with (
        state.locked(LockName.RUN, "a run", NOW) as run,
        elsewhere.locked(LockName.DETAILS, "details", NOW) as details,
    ):
        run.check()
        details.check()


def test_who_waits_for_the_lock_gets_it_as_soon_as_it_is_free(state: StateStore, elsewhere: StateStore) -> None:
    taken, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with state.locked(LockName.RUN, "the first", NOW):
            taken.set()
            leave.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    taken.wait(60)
    threading.Timer(0.3, leave.set).start()
    with elsewhere.locked(LockName.RUN, "the second", NOW, wait_seconds=240) as lock:
        assert leave.is_set()
        lock.check()
    holder.join()


HOLDING = """
import sys
from datetime import datetime
from bms_pipeline.core.settings import read_settings
from bms_pipeline.state.opening import open_state
from bms_pipeline.state.protocol import LockName
with open_state(read_settings()).locked(LockName.RUN, "a run that dies", datetime(2026, 11, 26)):
    print("held", flush=True)
    sys.stdin.read()
"""


def environment_of(state: StateStore, tmp_path: Path, request: pytest.FixtureRequest) -> dict[str, str]:
    """The environment of another process with the same state."""
    address = request.getfixturevalue("address") if state.is_shared else ""
    lake = str(tmp_path / "lake") if state.is_shared else ""
    home = str(tmp_path / "home")
    return {**os.environ, "BMS_PIPELINE_HOME": home, "BMS_PIPELINE_STATE": address, "BMS_PIPELINE_LAKE": lake}


def test_the_lock_ends_with_its_process_however_it_ends(
    state: StateStore, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    environment = environment_of(state, tmp_path, request)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDING], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(RunLocked, match="a run that dies"), state.locked(LockName.RUN, "the next", NOW):
            raise AssertionError
        holder.kill()
    with state.locked(LockName.RUN, "the next", NOW, wait_seconds=240):
        pass


def test_the_status_of_a_run_is_seen_elsewhere_and_stays_after_its_end(
    state: StateStore, elsewhere: StateStore
) -> None:
    assert read_status(state) is None
    with state.locked(LockName.RUN, "a run", NOW), recording(state, RunName("a run")) as tell:
        tell("load", 1, 2)
        at_work = read_status(elsewhere)
        assert at_work is not None
        assert (at_work.stage, at_work.done, at_work.total, at_work.is_running) == ("load", 1, 2, True)
    ended = read_status(elsewhere)
    assert ended is not None
    assert (ended.is_running, ended.was_killed) == (False, False)


def test_the_moment_of_the_last_write_is_known_elsewhere(state: StateStore, elsewhere: StateStore) -> None:
    moment = Clock()
    assert LastWrite(elsewhere).read() is None
    with state.locked(LockName.RUN, "a run", NOW):
        write = LastWrite(state, moment)
        for _ in range(3):
            write()
            seen = LastWrite(elsewhere).read()
            assert seen is not None
            assert seen.replace(tzinfo=UTC).timestamp() >= moment.now
            moment.now += 10


def test_files_for_an_import_are_whole_and_in_order(state: StateStore, elsewhere: StateStore) -> None:
    assert list(state.import_files.names()) == []
    assert state.import_files.read("clients-2.csv") is None
    content = "Client Name\r\nÆsir ⚙\r\n".encode() + bytes(range(256))
    for name in ("users-1.csv", "clients-2.csv.json", "clients-2.csv"):
        state.import_files.write(name, content)
    assert list(elsewhere.import_files.names()) == ["clients-2.csv", "clients-2.csv.json", "users-1.csv"]
    assert elsewhere.import_files.read("clients-2.csv") == content
    assert "clients-2.csv" in state.import_files.named("clients-2.csv")


# The hour's calls


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


@contextlib.contextmanager
def counting(state: StateStore, clock: Callable[[], float]) -> Iterator[CallCounter]:
    """The calls of ``state``, counted by ``clock`` in both places."""
    if isinstance(state, PostgresState):
        calls: CallCounter = PostgresCalls(state._session, state._schema, clock)
    else:
        assert isinstance(state, FolderState)
        calls = CallFile(state._budget_file, clock)
    with contextlib.closing(calls):
        yield calls


def taken(budget: Budget, endpoint: str = LIST) -> int:
    """Take until nothing is left; return how many there were."""
    count = 0
    with contextlib.suppress(BudgetExhausted):
        while True:
            budget.take(endpoint)
            count += 1
    return count


def test_no_more_calls_than_the_limit_and_each_endpoint_for_itself(state: StateStore, elsewhere: StateStore) -> None:
    clock = Clock()
    with counting(state, clock) as here, counting(elsewhere, clock) as there:
        assert taken(Budget(here, 5)) == 5
        assert (Budget(there, 5).left(LIST), Budget(there, 5).left("GET /v2/other")) == (0, 5)
        Budget(there, 5).take("GET /v2/other")
        assert set(Budget(here, 5).usage()) == {LIST, "GET /v2/other"}
        clock.now += 3600 + SPAN_SECONDS
        assert Budget(there, 5).usage() == {}
        assert taken(Budget(there, 5)) == 5


def test_a_clock_set_back_frees_nothing_and_does_not_block_for_longer_than_an_hour(state: StateStore) -> None:
    clock = Clock()
    with counting(state, clock) as calls:
        budget = Budget(calls, 5)
        assert taken(budget) == 5
        clock.now -= 7200
        assert (budget.left(LIST), taken(budget)) == (0, 0)
        clock.now += 3600 + SPAN_SECONDS
        assert taken(budget) == 5


def test_the_wait_ends_when_the_next_call_is_possible(state: StateStore) -> None:
    clock = Clock()
    with counting(state, clock) as calls:
        budget = Budget(calls, 1)
        assert budget.wait(LIST) == 0
        budget.take(LIST)
        clock.now += budget.wait(LIST) - 1
        assert taken(budget) == 0
        clock.now += 1
        assert taken(budget) == 1


@pytest.mark.explores
@pytest.mark.parametrize("state", ["postgres"], indirect=True)
@examples(10, 60)
@given(steps=st.lists(st.tuples(st.integers(-4000, 4000), st.booleans()), max_size=15))
def test_both_places_count_the_same_calls_under_any_clock(state: StateStore, steps: list[tuple[int, bool]]) -> None:
    """The model is the folder's count."""
    assert isinstance(state, PostgresState)
    state.rows("TRUNCATE {schema}.recent_calls")
    clock = Clock()
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.closing(CallFile(Path(folder, "model.sqlite"), clock)) as model,
        counting(state, clock) as calls,
    ):
        for seconds, takes in steps:
            clock.now += seconds
            if takes:
                assert calls.take(LIST, 3) == model.take(LIST, 3)
            assert list(calls.counted(LIST)) == list(model.counted(LIST))
            assert list(calls.endpoints()) == list(model.endpoints())


TAKING = """
import sys
from concurrent.futures import ThreadPoolExecutor
from bms_pipeline.bms.budget import Budget
from bms_pipeline.core.errors import BudgetExhausted
from bms_pipeline.core.settings import read_settings
budget = Budget.of(read_settings())
print("ready", flush=True)
sys.stdin.readline()
def take(_):
    try:
        budget.take("GET /v2/list")
        return 1
    except BudgetExhausted:
        return 0
with ThreadPoolExecutor(4) as pool:
    print(sum(pool.map(take, range(120))), flush=True)
"""


def test_processes_and_their_threads_never_exceed_the_hourly_limit(
    state: StateStore, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    environment = environment_of(state, tmp_path, request) | {"BMS_CALLS_PER_HOUR": "150"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TAKING], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    counts = []
    for process in processes:  # all at once: the last line of input lets each begin
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        out, _ = process.communicate(timeout=120)
        counts.append(int(out))
    assert sum(counts) == 150
