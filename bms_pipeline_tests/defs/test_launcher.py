"""How Dagster knows a dead run from a live one, also where the daemon cannot see the run's process."""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import msgspec
import pytest
from dagster._core.launcher import WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._daemon.monitoring.run_monitoring import monitor_started_run
from dagster._grpc.server import GrpcServerProcess

from bms_pipeline.core import processes
from bms_pipeline.core.errors import RunLocked
from bms_pipeline.core.processes import SILENT_SECONDS, this_process
from bms_pipeline.core.settings import Settings
from bms_pipeline.defs.instance import identity
from bms_pipeline.defs.instance.identity import PROCESS_TAG, living
from bms_pipeline.defs.instance.launcher import RunLauncher
from bms_pipeline.sync import run_lock
from bms_pipeline.warehouse import lease
from bms_pipeline.warehouse.connection import open_warehouse
from bms_pipeline_tests.running import in_another_namespace, why_no_other_namespace

ROOT = Path(__file__).parents[2]
RUN_CODE = (
    "import sys, dagster as dg\nfrom bms_pipeline.core import processes\n"
    "from bms_pipeline.defs.instance.identity import living\n"
    "processes.BEAT_EVERY_SECONDS = 0.2\n"
    "with living(dg.DagsterInstance.get(), sys.argv[1], lambda: print('declared dead', flush=True)):\n"
    "    print('alive', flush=True)\n    input()\n"
)
"""A run's process until it is killed, without anything to do."""
DAEMON_CODE = (
    "import sys, dagster as dg\nfrom bms_pipeline.core import processes\n"
    "processes.SILENT_SECONDS = 3\ninstance = dg.DagsterInstance.get()\n"
    "for line in sys.stdin:\n"
    "    run = instance.get_run_by_id(line.strip())\n"
    "    print(instance.run_launcher.check_run_worker_health(run).status.value, flush=True)\n"
)
"""A daemon that says what it thinks of a run, whenever it is asked."""


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    shutil.copyfile(ROOT / "dagster.yaml", tmp_path / "dagster.yaml")
    with dg.DagsterInstance.get() as instance:
        yield instance


@pytest.fixture
def launcher(instance: dg.DagsterInstance) -> RunLauncher:
    assert isinstance(instance.run_launcher, RunLauncher)
    assert instance.run_monitoring_enabled
    return instance.run_launcher


@pytest.fixture
def nobody() -> int:
    """A port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def started(instance: dg.DagsterInstance, code_server: int | None = None, **tags: str) -> dg.DagsterRun:
    """A run that is at work, started by the code server at this port."""
    server = {GRPC_INFO_TAG: json.dumps({"host": "localhost", "port": code_server})} if code_server else {}
    run = dg.DagsterRun(job_name="plan", status=dg.DagsterRunStatus.NOT_STARTED, tags={**server, **tags})
    instance.add_run(run)
    instance.report_dagster_event(dg.DagsterEvent("PIPELINE_START", "plan", message="It starts."), run.run_id)
    return again(instance, run)


def again(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRun:
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found


def elsewhere() -> dict[str, str]:
    """The identity of a process that has the number of this one, in another container."""
    process = msgspec.structs.replace(this_process(), namespace="another")
    return {PROCESS_TAG: msgspec.json.encode(process).decode()}


def beat(instance: dg.DagsterInstance, run: dg.DagsterRun, seconds_ago: float) -> None:
    instance.daemon_cursor_storage.set_cursor_values({identity._key(run.run_id): str(time.time() - seconds_ago)})


def looks(launcher: RunLauncher, run: dg.DagsterRun, times: int = 2) -> list[WorkerStatus]:
    return [launcher.check_run_worker_health(run).status for _ in range(times)]


def spoken_to(stack: ExitStack, *command: str) -> subprocess.Popen[str]:
    """A process that reads and writes lines until it is killed."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    process = stack.enter_context(subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment))
    stack.callback(process.kill)
    return process


def process_of(run: dg.DagsterRun, stack: ExitStack) -> subprocess.Popen[str]:
    """A process that works on ``run``."""
    process = spoken_to(stack, sys.executable, "-c", RUN_CODE, run.run_id)
    assert process.stdout is not None
    assert process.stdout.readline() == "alive\n"
    return process


def test_a_run_seen_from_here_is_alive_as_long_as_its_process_is(
    instance: dg.DagsterInstance, launcher: RunLauncher
) -> None:
    run = started(instance)
    with ExitStack() as stack:
        process = process_of(run, stack)
        run = again(instance, run)
        assert looks(launcher, run) == [WorkerStatus.RUNNING, WorkerStatus.RUNNING]
        process.kill()
        process.wait()
        assert looks(launcher, run, 1) == [WorkerStatus.FAILED], "at once, and without any heartbeat to wait for"


@pytest.mark.skipif(bool(why_no_other_namespace()), reason=why_no_other_namespace() or "")
def test_a_daemon_in_another_container_leaves_a_healthy_run_alone_and_sees_its_end(
    instance: dg.DagsterInstance, nobody: int
) -> None:
    run = started(instance, nobody)
    with ExitStack() as stack:
        process = process_of(run, stack)
        daemon = spoken_to(stack, *in_another_namespace(), sys.executable, "-c", DAEMON_CODE)

        def thinks() -> str:
            assert daemon.stdin is not None
            assert daemon.stdout is not None
            print(run.run_id, file=daemon.stdin, flush=True)
            return daemon.stdout.readline().strip()

        healthy_until = time.monotonic() + 5
        while time.monotonic() < healthy_until:
            assert thinks() == "RUNNING"
            time.sleep(0.5)
        process.kill()
        process.wait()
        killed_at = time.monotonic()
        while thinks() == "RUNNING":
            assert time.monotonic() < killed_at + 60
            time.sleep(0.5)
        assert thinks() == "FAILED"


def test_silence_alone_proves_nothing(instance: dg.DagsterInstance, launcher: RunLauncher) -> None:
    """Nobody is known who started the run, so nobody can be asked. Dagster would fail a run that is ``UNKNOWN``."""
    run = started(instance, None, **elsewhere())
    beat(instance, run, SILENT_SECONDS * 100)
    assert looks(launcher, run, 3) == [WorkerStatus.RUNNING] * 3
    health = launcher.check_run_worker_health(run)
    assert "nothing proves that it is gone" in str(health.msg)
    monitor_started_run(instance, None, SimpleNamespace(dagster_run=run, start_time=time.time()), logging.getLogger())  # type: ignore[arg-type]
    assert again(instance, run).status is dg.DagsterRunStatus.STARTED


def test_a_silent_run_whose_code_server_is_gone_is_dead_at_the_second_look(
    instance: dg.DagsterInstance, launcher: RunLauncher, nobody: int
) -> None:
    run = started(instance, nobody, **elsewhere())
    beat(instance, run, SILENT_SECONDS * 2)
    assert looks(launcher, run) == [WorkerStatus.RUNNING, WorkerStatus.FAILED]
    assert "no code server knows it" in str(launcher.check_run_worker_health(run).msg)


def test_a_heartbeat_that_changes_is_one_whatever_the_clocks_say(
    instance: dg.DagsterInstance, launcher: RunLauncher, nobody: int
) -> None:
    """The clock of the run's machine is hours behind."""
    run = started(instance, nobody, **elsewhere())
    for late in range(5):
        beat(instance, run, 7200 - 10 * late)
        assert looks(launcher, run, 1) == [WorkerStatus.RUNNING]


def test_a_clock_that_is_ahead_does_not_keep_a_dead_run_alive(
    instance: dg.DagsterInstance, launcher: RunLauncher, nobody: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = started(instance, nobody, **elsewhere())
    beat(instance, run, -7200)
    assert looks(launcher, run) == [WorkerStatus.RUNNING, WorkerStatus.RUNNING]
    now = time.monotonic()
    monkeypatch.setattr("bms_pipeline.defs.instance.launcher.time.monotonic", lambda: now + SILENT_SECONDS + 1)
    assert looks(launcher, run, 1) == [WorkerStatus.FAILED]


def test_a_run_that_died_before_it_had_an_identity_is_dead_too(
    instance: dg.DagsterInstance, launcher: RunLauncher, nobody: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As is one of version 0.5, which has none."""
    run = started(instance, nobody)
    assert looks(launcher, run) == [WorkerStatus.RUNNING, WorkerStatus.RUNNING]
    now = time.monotonic()
    monkeypatch.setattr("bms_pipeline.defs.instance.launcher.time.monotonic", lambda: now + SILENT_SECONDS + 1)
    assert looks(launcher, run, 1) == [WorkerStatus.FAILED]


def test_a_code_server_that_answers_and_does_not_know_the_run_lets_it_count_as_dead(
    instance: dg.DagsterInstance, launcher: RunLauncher
) -> None:
    with GrpcServerProcess(instance.get_ref(), wait_on_exit=True, force_port=True) as server:
        run = started(instance, server.port, **elsewhere())
        beat(instance, run, SILENT_SECONDS * 2)
        assert looks(launcher, run) == [WorkerStatus.RUNNING, WorkerStatus.FAILED]


def test_a_run_that_was_declared_dead_writes_nothing_more(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process was frozen, or cut off, and goes on: no later transaction of it is committed."""
    monkeypatch.setattr(processes, "BEAT_EVERY_SECONDS", 0.05)
    monkeypatch.setattr(identity, "_GRACE_SECONDS", 0.05)
    settings = Settings(_env_file=None, bms_pipeline_home=tmp_path / "home")  # type: ignore[call-arg]
    warehouse, run = open_warehouse(settings), started(instance)

    def write(number: int) -> None:
        with warehouse.transaction() as connection:
            connection.execute(f"INSERT INTO sync.exclusions (entity, bms_id) VALUES ('users', {number})")

    def go_on() -> None:
        with run_lock.running(settings, "the run"), living(instance, run.run_id, lambda: lease.revoke(warehouse.file)):
            write(1)
            instance.report_run_failed(run, "its process is gone")
            give_up = time.monotonic() + 60
            while time.monotonic() < give_up:
                write(2)
                with warehouse.transaction() as connection:
                    connection.execute("DELETE FROM sync.exclusions WHERE bms_id = 2")
                time.sleep(0.05)

    with pytest.raises(RunLocked, match="declared dead"):
        go_on()
    with run_lock.running(settings, "the retry"), warehouse.transaction() as connection:
        assert (1,) in connection.execute("SELECT bms_id FROM sync.exclusions").fetchall()
    write(3)


def test_a_run_that_fails_by_itself_may_write_how_it_ended(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "BEAT_EVERY_SECONDS", 0.01)
    run, declared = started(instance), []
    with living(instance, run.run_id, lambda: declared.append(True)):
        instance.report_run_failed(run, "a step failed")
        time.sleep(0.1)
    assert not declared


def test_a_database_that_does_not_answer_does_not_end_the_run(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = started(instance)

    def fail(_: Any) -> None:
        raise OSError("no database")

    monkeypatch.setattr(instance.run_storage, "set_cursor_values", fail)
    with living(instance, run.run_id, lambda: None):
        pass
    monkeypatch.undo()
    assert identity.last_beat(instance, run.run_id) is None
    assert identity.identity_of(again(instance, run)) == this_process()
