"""Many tenants on one machine: one Dagster instance, one daemon, and a code server for each tenant.

All tenants are copies of one synced ``small`` home with one sandbox behind them. For each number of tenants: the memory
at rest and in a round, the processor time at rest, and how long a round takes in which each tenant syncs once.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
from dagster._cli.job import _create_run
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget

from bms_pipeline.defs.jobs import scheduled
from bms_pipeline_tests.postgres import VALUES, VARIABLES, running_postgres, why_no_postgres
from bms_sandbox.passportal import fill_passportal
from bms_sandbox.process import running_sandbox

ROOT = Path(__file__).parents[1]
ENDED = {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}
NEVER = "0 0 29 2 *"
SCHEDULED = scheduled(full_sweep=False)
REST_SECONDS, LOOK_SECONDS = 40.0, 3.0
LEFT_FREE = 3 << 30
"""Stop before less memory than this is left to others."""


@dataclass
class Figures:
    """What the tenants take together. Memory is PSS in MiB; ``busy`` is processor seconds per second at rest.

    ``wall`` is None where a round would have taken longer than the time that was left.
    """

    tenants: int
    servers: float = 0.0
    daemon: float = 0.0
    busy: float = 0.0
    of_daemon: float = 0.0
    wall: float | None = None
    processor: float = 0.0
    peak: float = 0.0
    failed: int = 0


@dataclass
class Deployment:
    """Homes, code servers, the daemon, and the instance that all share."""

    folder: Path
    shared: dict[str, str]
    settings: dict[str, str]
    stack: ExitStack
    servers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def grow(self, count: int) -> None:
        """Add tenants until there are ``count``, and wait until each code server answers."""
        for number in range(len(self.servers), count):
            name = f"t{number + 1:02}"
            home = self.folder / name
            shutil.copytree(self.folder / "first", home)
            environment = {**self.settings, **self.shared, "BMS_PIPELINE_NAME": name, "BMS_PIPELINE_HOME": str(home)}
            command = ["api", "grpc", "--module-name", "bms_pipeline.definitions", "--location-name", name]
            self.servers[name] = self._serve([*command, "--socket", f"{home}/code.sock"], environment, home)
        self.workspace.write_text(
            "load_from:\n"
            + "".join(
                f"  - grpc_server: {{socket: {self.folder / name}/code.sock, location_name: {name}}}\n"
                for name in self.servers
            )
        )
        until(lambda: all((self.folder / name / "code.sock").exists() for name in self.servers), 600)

    @property
    def workspace(self) -> Path:
        """The list of code servers."""
        return self.folder / "workspace.yaml"

    @contextmanager
    def daemon(self) -> Iterator[subprocess.Popen[bytes]]:
        """Dagster's daemon, which knows no setting of a tenant."""
        command = ["-m", "bms_pipeline.defs.instance.daemon", "run", "--workspace", str(self.workspace)]
        with ExitStack() as stack:
            yield started(stack, [sys.executable, *command], self.shared, self.folder)

    def _serve(self, command: list[str], environment: dict[str, str], folder: Path) -> subprocess.Popen[bytes]:
        return started(self.stack, [sys.executable, "-m", "dagster", *command], environment, folder)


def started(stack: ExitStack, command: list[str], environment: dict[str, str], folder: Path) -> subprocess.Popen[bytes]:
    """Start a process that ends with ``stack``."""
    log = stack.enter_context((folder / "process.log").open("ab"))
    process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)
    stack.callback(ended, process)
    return process


def ended(process: subprocess.Popen[bytes]) -> None:
    """End a process of ours, with what it started."""
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
    process.kill()
    process.wait(30)


def measured(counts: Iterable[int], seconds: float = 3000.0) -> Iterator[Figures]:
    """Measure each number of tenants, until the time or the memory is used up."""
    give_up = time.monotonic() + seconds
    a_tenant = 0.0
    with ExitStack() as stack:
        deployment = prepared(stack)
        instance = stack.enter_context(dg.DagsterInstance.get())
        for count in counts:
            if psutil.virtual_memory().available < LEFT_FREE or time.monotonic() > give_up:
                return
            deployment.grow(count)
            fits = time.monotonic() + a_tenant * count + 2 * REST_SECONDS < give_up
            found = _figures(deployment, instance, Figures(count), with_round=fits)
            a_tenant = found.wall / count if found.wall else a_tenant
            yield found


def prepared(stack: ExitStack) -> Deployment:
    """Make the instance, and a home with a finished first sync, of which all others are copies."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    dagster_home = folder / "dagster"
    dagster_home.mkdir()
    if why_no_postgres():
        shutil.copyfile(ROOT / "dagster.yaml", dagster_home / "dagster.yaml")
    else:
        port = stack.enter_context(running_postgres())
        text = (ROOT / "deploy" / "dagster.postgres.yaml").read_text().replace("port: 5432", f"port: {port}")
        (dagster_home / "dagster.yaml").write_text(text)
    base = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    shared = {
        **base,
        "DAGSTER_HOME": str(dagster_home),
        "PYTHONPATH": str(ROOT),
        **dict(zip(VARIABLES, VALUES, strict=True)),
    }
    os.environ |= shared
    sandbox = stack.enter_context(running_sandbox("small", 1, folder / "tenant", {"hourly_limit": None}))
    settings = {
        "BMS_URL": sandbox.url,
        "BMS_TENANT": sandbox.login["tenant"],
        "BMS_USERNAME": sandbox.login["username"],
        "BMS_PASSWORD": sandbox.login["password"],
        "BMS_CALLS_PER_HOUR": "1000000",
        "BMS_PIPELINE_SYNC_CRON": NEVER,
        "BMS_PIPELINE_FULL_SYNC_CRON": NEVER,
    }
    first = folder / "first"
    first.mkdir()
    fill_passportal(first / "passportal.duckdb", sandbox.folder)
    environment = {**settings, **shared, "BMS_PIPELINE_HOME": str(first)}
    for verb in (["sync", "--create-unmatched"], ["fetch-details"]):
        command = [sys.executable, "-m", "bms_pipeline.cli", *verb]
        subprocess.run(command, env=environment, cwd=first, check=True, capture_output=True, timeout=600)
    return Deployment(folder, shared, settings, stack)


def _figures(deployment: Deployment, instance: dg.DagsterInstance, figures: Figures, *, with_round: bool) -> Figures:
    servers = [psutil.Process(server.pid) for server in deployment.servers.values()]
    with (
        deployment.daemon() as started_daemon,
        WorkspaceProcessContext(instance, WorkspaceFileTarget([str(deployment.workspace)])) as process,
    ):
        daemon = psutil.Process(started_daemon.pid)
        time.sleep(REST_SECONDS)  # both load all definitions
        figures.servers, figures.daemon = memory(servers), memory([daemon])
        before, of_daemon = spent([*servers, daemon]), spent([daemon])
        time.sleep(REST_SECONDS)
        figures.busy = (spent([*servers, daemon]) - before) / REST_SECONDS
        figures.of_daemon = (spent([daemon]) - of_daemon) / REST_SECONDS
        if with_round:
            _add_a_round(figures, [*servers, daemon], list(deployment.servers), instance, process)
    return figures


def _add_a_round(
    figures: Figures,
    processes: list[psutil.Process],
    names: list[str],
    instance: dg.DagsterInstance,
    process: WorkspaceProcessContext,
) -> None:
    before, began = spent(processes), time.monotonic()
    runs = [launched(instance, process, name) for name in names]
    while left := [run for run in runs if status(instance, run) not in ENDED]:
        figures.peak = max(figures.peak, memory(processes))
        if time.monotonic() > began + 60 * (len(runs) + 5):
            raise TimeoutError(f"{len(left)} of {len(runs)} runs did not end.")
        time.sleep(LOOK_SECONDS)
    figures.wall = time.monotonic() - began
    time.sleep(LOOK_SECONDS)  # the last processes end
    figures.processor = spent(processes) - before
    figures.failed = sum(status(instance, run) is not dg.DagsterRunStatus.SUCCESS for run in runs)


def launched(instance: dg.DagsterInstance, process: WorkspaceProcessContext, name: str) -> str:
    """Queue a sync of a tenant, as its schedule does."""
    location: Any = process.create_request_context().get_code_location(name)
    (repository,) = location.get_repositories().values()
    job = repository.get_full_job("incremental_sync")
    run = _create_run(instance, location, repository, job, deepcopy(SCHEDULED), {}, None, None)
    instance.submit_run(run.run_id, process.create_request_context())
    return str(run.run_id)


def status(instance: dg.DagsterInstance, run: str) -> dg.DagsterRunStatus:
    """Return the status of a run."""
    found = instance.get_run_by_id(run)
    if found is None:
        raise LookupError(run)
    return found.status


def memory(processes: Iterable[psutil.Process]) -> float:
    """Return the MiB of ``processes`` and their children; what several share is divided among them (PSS)."""
    total = 0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            for part in (process, *process.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    total += part.memory_full_info().pss
    return total / 2**20


def spent(processes: Iterable[psutil.Process]) -> float:
    """Return the processor seconds of ``processes``, and of their children that ended."""
    times = [process.cpu_times() for process in processes]
    return sum(time.user + time.system + time.children_user + time.children_system for time in times)


def until(happened: Callable[[], bool], seconds: float) -> None:
    """Wait until it happened."""
    give_up = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > give_up:
            raise TimeoutError("A code server did not start.")
        time.sleep(0.5)
