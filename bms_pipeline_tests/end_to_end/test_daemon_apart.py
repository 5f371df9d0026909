"""The daemon in another container than the code server: it leaves a healthy run alone, and fails a killed one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import dagster as dg
import psutil
import pytest
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget

from bms_pipeline.core.processes import SILENT_SECONDS
from bms_pipeline.core.reasons import Reason
from bms_pipeline.defs.instance.identity import identity_of
from bms_pipeline_tests.end_to_end.test_dagster_killed import ENDED, MINUTE, until
from bms_pipeline_tests.end_to_end.test_two_tenants import Deployment, serve
from bms_pipeline_tests.running import Home, in_another_namespace, running_home, why_no_other_namespace

pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(why_no_other_namespace()), reason=why_no_other_namespace() or ""),
]
ROOT = Path(__file__).parents[2]
LOCATION = "bms_pipeline"
HEALTHY_SECONDS = SILENT_SECONDS + 20
"""Longer than the silence after which a run may count as dead."""
SLACK_SECONDS = 10.0
"""For a machine with much else to do."""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    shared = {"DAGSTER_HOME": str(tmp_path / "dagster"), "PYTHONPATH": str(ROOT)}
    (tmp_path / "dagster").mkdir()
    shutil.copyfile(ROOT / "dagster.yaml", tmp_path / "dagster" / "dagster.yaml")
    with running_home(tmp_path / "t", environment=shared) as home, pytest.MonkeyPatch.context() as environment:
        for name, value in shared.items():
            environment.setenv(name, value)
        yield home


def code_server(home: Home, stack: ExitStack) -> subprocess.Popen[bytes]:
    socket = home.folder / "code.sock"
    socket.unlink(missing_ok=True)
    command = ["dagster", "api", "grpc", "--module-name", "bms_pipeline.definitions", "--location-name", LOCATION]
    server = serve(stack, home.environment, home.folder, sys.executable, "-m", *command, "--socket", str(socket))
    until(socket.exists, "the code server listens", 120)
    return server


def test_a_healthy_run_is_left_alone_and_a_killed_one_ends_by_its_retry(home: Home, tmp_path: Path) -> None:
    assert home.call("sync", "--create-unmatched").returncode == 0
    workspace = tmp_path / "workspace.yaml"
    workspace.write_text(
        f"load_from:\n  - grpc_server: {{socket: {home.folder / 'code.sock'}, location_name: {LOCATION}}}\n"
    )
    with ExitStack() as stack:
        instance = stack.enter_context(dg.DagsterInstance.get())
        server = code_server(home, stack)
        outside = {name: home.environment[name] for name in ("PATH", "HOME", "DAGSTER_HOME", "PYTHONPATH")}
        daemon = [sys.executable, "-m", "bms_pipeline.defs.instance.daemon", "run", "--workspace", str(workspace)]
        serve(stack, outside, tmp_path, *in_another_namespace(), *daemon)
        process = stack.enter_context(WorkspaceProcessContext(instance, WorkspaceFileTarget([str(workspace)])))
        dagster = Deployment(instance, process, {LOCATION: home})

        home.sandbox.behave(faults=[{"route": "/v2", "kind": "hang"}])
        run = dagster.launch(LOCATION, "incremental_sync")
        until(lambda: worker(instance, run), "the run is at work", 180)
        healthy_until = time.monotonic() + HEALTHY_SECONDS
        while time.monotonic() < healthy_until:
            assert dagster.status(run) == "STARTED"
            time.sleep(1)

        killed_at = time.monotonic()
        for pid in (server.pid, worker(instance, run)):  # as a container ends: all of it at once
            os.kill(pid, signal.SIGKILL)
        server.wait(30)
        home.sandbox.behave(faults=[])
        code_server(home, stack)  # which was started again, as systemd or Docker does, and does not know the run
        until(lambda: dagster.status(run) == "FAILURE", "the run is failed", MINUTE + SLACK_SECONDS)
        print(f"Failed {time.monotonic() - killed_at:.0f} s after the kill.")
        until(lambda: retries(instance, run), "a retry is launched", 180)
        (retry,) = retries(instance, run)
        until(lambda: dagster.status(retry) in ENDED, "the retry ends", 240)
        assert dagster.status(retry) == "SUCCESS"
    assert home.call("preview").returncode in (0, 2)
    waiting = home.warehouse("SELECT DISTINCT reason FROM sync.operations WHERE operation <> 'skip'")
    left = {reason for (reason,) in waiting}
    assert left <= {Reason.DETAILS_COMPLETED}, "details may have been read since: their sensor was at work, too"


def worker(instance: dg.DagsterInstance, run_id: str) -> int:
    """The process that works on the run; 0 as long as there is none."""
    run = instance.get_run_by_id(run_id)
    assert run is not None
    identity = identity_of(run)
    return identity.pid if identity and psutil.pid_exists(identity.pid) else 0


def retries(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    return [run.run_id for run in instance.get_runs() if run.parent_run_id == run_id]
