"""Whether a process is alive: seen from here by the table of processes, from elsewhere by heartbeat and code server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bms_pipeline.core import processes, run_status
from bms_pipeline.core.processes import SILENT_SECONDS, Process, life_of, process_here, this_process
from bms_pipeline.core.run_status import RunName, RunStatus
from bms_pipeline.core.settings import Settings
from bms_pipeline.core.vocabulary import Life
from bms_pipeline.state.folder import FolderState
from bms_pipeline.state.recording import read_status, recording
from bms_pipeline_tests.running import in_another_namespace, why_no_other_namespace

ELSEWHERE = ("host", "boot", "namespace")


def not_asked() -> Life:
    raise AssertionError("A process seen from here needs nobody to ask.")


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits until it is killed."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_a_process_seen_from_here_is_alive_until_it_ends(child: subprocess.Popen[bytes]) -> None:
    process = process_here(child.pid)
    assert process is not None
    assert life_of(process, 3600, not_asked) is Life.ALIVE
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert life_of(process, 0, not_asked) is Life.DEAD, "a zombie works on nothing"
    child.wait()
    assert life_of(process, 0, not_asked) is Life.DEAD
    assert process_here(child.pid) is None


def test_another_process_that_got_the_number_is_not_it() -> None:
    before = msgspec.structs.replace(this_process(), started=this_process().started - 3600)
    assert life_of(before, 0, not_asked) is Life.DEAD
    assert life_of(this_process(), 3600, not_asked) is Life.ALIVE


@pytest.mark.parametrize("what", ELSEWHERE)
def test_a_number_from_elsewhere_proves_nothing(what: str) -> None:
    """Neither that the run lives, although we have a process of this number, nor that it is dead."""
    process = msgspec.structs.replace(this_process(), **{what: "another"})
    assert life_of(process, 0) is Life.ALIVE
    assert life_of(process, SILENT_SECONDS) is Life.UNKNOWN
    assert life_of(process, SILENT_SECONDS, lambda: Life.DEAD) is Life.DEAD


@pytest.mark.explores
@given(
    place=st.tuples(*[st.sampled_from(["", "a", "b"])] * 3),
    pid=st.integers(1, 2**22),
    silent=st.floats(0, 1e6),
    answer=st.sampled_from(Life),
)
def test_it_is_dead_only_when_it_is_silent_and_whoever_started_it_does_not_know_it(
    place: tuple[str, str, str], pid: int, silent: float, answer: Life
) -> None:
    life = life_of(Process(*place, pid, 1.0), silent, lambda: answer)
    assert (life is Life.DEAD) == (silent >= SILENT_SECONDS and answer is Life.DEAD)
    assert (life is Life.ALIVE) == (silent < SILENT_SECONDS or answer is Life.ALIVE)


def test_an_identity_survives_its_file() -> None:
    assert msgspec.json.decode(msgspec.json.encode(this_process()), type=Process) == this_process()


def test_without_a_proc_the_clock_tells_the_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As on macOS and Windows."""
    monkeypatch.setattr(processes, "_PROC", tmp_path)
    processes._place.cache_clear()
    try:
        own = this_process()
        assert (own.boot, own.namespace) == ("", "")
        assert abs(own.started - time.time()) < 24 * 3600
        assert life_of(own, 0, not_asked) is Life.ALIVE
        assert life_of(msgspec.structs.replace(own, started=own.started - 60), 0, not_asked) is Life.DEAD
    finally:
        processes._place.cache_clear()


def test_a_run_writes_its_identity_and_its_heartbeat(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(processes, "BEAT_EVERY_SECONDS", 0.01)
    stamps = iter(f"2026-01-01T00:00:{second:02}+00:00" for second in range(60))
    monkeypatch.setattr(run_status, "moment", lambda: next(stamps, "2026-01-01T00:01:00+00:00"))
    state = FolderState(Settings(_env_file=None, bms_pipeline_home=tmp_path))  # type: ignore[call-arg]
    with recording(state, RunName("a run")) as tell:
        tell("load", 1, 2)
        first = read_status(state)
        assert first is not None
        assert first.process == this_process()
        while (status := read_status(state)) is None or status.beat_at == first.beat_at:
            time.sleep(0.005)
        assert (status.stage, status.done, status.is_running) == ("load", 1, True)
    ended = read_status(state)
    assert ended is not None
    assert (ended.life, ended.was_killed, ended.is_unknown) == (Life.DEAD, False, False)


@pytest.mark.parametrize("beat_at", ["", "2026-01-01T00:00:00+00:00", "not a time"])
def test_a_run_from_elsewhere_that_is_silent_is_neither_running_nor_killed(beat_at: str) -> None:
    process = msgspec.structs.replace(this_process(), namespace="another")
    status = RunStatus("a run", 1, "2026-01-01T00:00:00+00:00", process=process, beat_at=beat_at)
    assert (status.is_running, status.was_killed, status.is_unknown) == (False, False, True)
    fresh = msgspec.structs.replace(status, beat_at=run_status.moment())
    assert (fresh.is_running, fresh.was_killed, fresh.is_unknown) == (True, False, False)


def test_a_heartbeat_in_the_future_counts_as_now() -> None:
    assert run_status.seconds_since("2999-01-01T00:00:00+00:00") == 0


@pytest.mark.skipif(bool(why_no_other_namespace()), reason=why_no_other_namespace() or "")
@pytest.mark.parametrize("mounted", [True, False], ids=["with its own /proc", "with the outer /proc"])
def test_a_process_in_another_container_is_not_seen_and_does_not_see_us(mounted: bool) -> None:
    code = (
        "import sys, msgspec\nfrom bms_pipeline.core.processes import *\n"
        "ours = msgspec.json.decode(sys.stdin.readline(), type=Process)\n"
        "print(msgspec.json.encode([this_process(), ours.is_here, life_of(ours, 99)]).decode())\n"
    )
    answer = subprocess.run(
        [*in_another_namespace(mounted), sys.executable, "-c", code],
        input=msgspec.json.encode(this_process()).decode() + "\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    theirs, is_here, life = json.loads(answer)
    assert (is_here, life) == (False, Life.UNKNOWN)
    assert not Process(**theirs).is_here
    assert theirs["pid"] < this_process().pid
