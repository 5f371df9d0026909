"""Two tenants in one Dagster: two code servers, two homes, two services, one instance and one daemon.

The instance is on PostgreSQL where there is one, else on SQLite; the test's output says which.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._cli.job import _create_run
from dagster._core.definitions.freshness import FreshnessState
from dagster._core.definitions.freshness_evaluator import TimeWindowFreshnessPolicyEvaluator
from dagster._core.events import DagsterEvent, DagsterEventType, StepMaterializationData
from dagster._core.events.log import EventLogEntry
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget

from bms_pipeline.defs.names import TENANT_TAG
from bms_pipeline.state.opening import open_state
from bms_pipeline.sync.state_file import read_state
from bms_pipeline_tests.end_to_end.test_dagster_killed import ENDED, until
from bms_pipeline_tests.postgres import VALUES, VARIABLES, running_postgres, why_no_postgres
from bms_pipeline_tests.running import Home, running_home

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]
ROOT = Path(__file__).parents[2]
TENANTS = ("acme", "beta")
TICKS = 10
BUSY_SECONDS = 600
"""For a run, on a machine with much else to do."""


@dataclass
class Deployment:
    """One Dagster instance with a code location for each tenant."""

    instance: dg.DagsterInstance
    process: WorkspaceProcessContext
    homes: dict[str, Home]

    def location(self, tenant: str) -> Any:
        return self.process.create_request_context().get_code_location(tenant)

    def repository(self, tenant: str) -> Any:
        (repository,) = self.location(tenant).get_repositories().values()
        return repository

    def launch(self, tenant: str, job: str) -> str:
        """Launch a job of a tenant, as its launchpad does."""
        repository = self.repository(tenant)
        remote = repository.get_full_job(job)
        run = _create_run(self.instance, self.location(tenant), repository, remote, {}, {}, None, None)
        self.instance.submit_run(run.run_id, self.process.create_request_context())
        run_id: str = run.run_id
        return run_id

    def status(self, run: str) -> str:
        found = self.instance.get_run_by_id(run)
        assert found is not None
        return found.status.value

    def partition_tick(self, tenant: str) -> int:
        """Evaluate the sensor of the partitions, do as it says as the daemon does, and count its changes."""
        handle = self.repository(tenant).handle
        data = self.location(tenant).get_sensor_execution_data(
            self.instance, handle, "client_partitions", None, None, None, None, None
        )
        changes = 0
        for request in data.dynamic_partitions_requests or []:
            changes += len(request.partition_keys)
            if type(request).__name__.startswith("Add"):
                self.instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
            else:
                for key in request.partition_keys:
                    self.instance.delete_dynamic_partition(request.partitions_def_name, key)
        return changes

    def skipped(self, tenant: str) -> str | None:
        """Why the hourly schedule of a tenant starts nothing now; None where it starts a run."""
        data = self.location(tenant).get_schedule_execution_data(
            self.instance, self.repository(tenant).handle, "hourly_sync", None, None
        )
        return None if data.run_requests else str(data.skip_message)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder, environment = tmp_path_factory.mktemp("deployment"), pytest.MonkeyPatch()
    with ExitStack() as stack:
        stack.callback(environment.undo)
        dagster_home = folder / "dagster"
        dagster_home.mkdir()
        why = why_no_postgres()
        print(f"Dagster's instance is on {f'SQLite: {why}' if why else 'PostgreSQL'}.")
        if why:
            shutil.copyfile(ROOT / "dagster.yaml", dagster_home / "dagster.yaml")
        else:
            port = stack.enter_context(running_postgres())
            text = (ROOT / "deploy" / "dagster.postgres.yaml").read_text().replace("port: 5432", f"port: {port}")
            (dagster_home / "dagster.yaml").write_text(text)
        shared = {
            "DAGSTER_HOME": str(dagster_home),
            "PYTHONPATH": str(ROOT),
            **dict(zip(VARIABLES, VALUES, strict=True)),
        }
        for name, value in shared.items():
            environment.setenv(name, value)
        instance = stack.enter_context(dg.DagsterInstance.get())  # first: it makes the tables, for one process alone
        homes = {
            tenant: stack.enter_context(
                running_home(folder / tenant, seed=seed, environment={"BMS_PIPELINE_NAME": tenant, **shared})
            )
            for seed, tenant in enumerate(TENANTS, 1)
        }
        for home in homes.values():
            assert home.call("sync", "--create-unmatched").returncode == 0
        workspace = folder / "workspace.yaml"
        entries = []
        for tenant, home in homes.items():
            socket = home.folder / "code.sock"
            command = ["api", "grpc", "--module-name", "bms_pipeline.definitions", "--location-name", tenant]
            serve(
                stack, home.environment, home.folder, sys.executable, "-m", "dagster", *command, "--socket", str(socket)
            )
            entries.append(f"  - grpc_server: {{socket: {socket}, location_name: {tenant}}}\n")
        workspace.write_text("load_from:\n" + "".join(entries))
        until(lambda: all((home.folder / "code.sock").exists() for home in homes.values()), "code servers", 120)
        # Neither the daemon nor this process has any setting of a tenant.
        outside = {"PATH": homes["acme"].environment["PATH"], "HOME": str(folder), **shared}
        serve(
            stack,
            outside,
            folder,
            sys.executable,
            "-m",
            "bms_pipeline.defs.instance.daemon",
            "run",
            "--workspace",
            str(workspace),
        )
        process = stack.enter_context(WorkspaceProcessContext(instance, WorkspaceFileTarget([str(workspace)])))
        yield Deployment(instance, process, homes)


def serve(stack: ExitStack, environment: dict[str, str], folder: Path, *command: str) -> subprocess.Popen[bytes]:
    """Run a process of Dagster until the end of the test."""
    log = stack.enter_context((folder / "process.log").open("ab"))
    process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    stack.callback(end, process)
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process of ours: a code server waits for its runs, and a run in the middle of a call does not end."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(30)


def keys(deployment: Deployment) -> set[tuple[str, ...]]:
    graph = deployment.process.create_request_context().asset_graph
    return {tuple(key.path) for key in graph.get_all_asset_keys()}


def test_all_assets_of_both_tenants_are_there(deployment: Deployment) -> None:
    found = keys(deployment)
    assert len(found) == 50
    assert {tenant for tenant, _ in found} == set(TENANTS)


def test_the_partitions_of_both_are_stable_over_ten_ticks(deployment: Deployment) -> None:
    assert all(deployment.partition_tick(tenant) for tenant in TENANTS), "at first there are none"
    assert [deployment.partition_tick(tenant) for _ in range(TICKS) for tenant in TENANTS] == [0] * (2 * TICKS)
    for tenant, home in deployment.homes.items():
        state = read_state(open_state(home.settings))
        assert state is not None
        partitions = deployment.instance.get_dynamic_partitions(f"{tenant}_clients")
        assert partitions == [str(client) for client in state.clients]
    assert not deployment.instance.get_dynamic_partitions("clients")


def test_a_tenant_syncs_while_the_other_is_at_work(deployment: Deployment) -> None:
    """Neither its schedule nor its pool waits for the other tenant."""
    acme = deployment.homes["acme"]
    acme.sandbox.behave(faults=[{"route": "/v2", "kind": "hang"}])
    held = deployment.launch("acme", "incremental_sync")
    until(lambda: deployment.status(held) == "STARTED", "acme's run starts", 120)
    assert deployment.skipped("acme") == "A sync is still at work: the next tick goes on from there."
    assert deployment.skipped("beta") is None
    other = deployment.launch("beta", "incremental_sync")
    until(lambda: deployment.status(other) in ENDED, "beta's run ends", BUSY_SECONDS)
    assert (deployment.status(held), deployment.status(other)) == ("STARTED", "SUCCESS")
    acme.sandbox.behave(faults=[])
    until(lambda: deployment.status(held) in ENDED, "acme's run ends", BUSY_SECONDS)
    tags = {run.run_id: run.tags.get(TENANT_TAG) for run in deployment.instance.get_runs()}
    assert (tags[held], tags[other]) == ("acme", "beta")
    # Each wrote events under its own keys only.
    for run, tenant in ((held, "acme"), (other, "beta")):
        events = deployment.instance.all_logs(run, of_type=DagsterEventType.ASSET_MATERIALIZATION)
        written = {event.asset_materialization.asset_key.path[0] for event in events if event.asset_materialization}
        assert written in ({tenant}, set())


def test_a_tenant_that_stopped_is_overdue_while_the_other_is_fresh(deployment: Deployment) -> None:
    for tenant, hours in (("acme", 7), ("beta", 0)):
        materialized(deployment.instance, dg.AssetKey([tenant, "bms_clients"]), time.time() - hours * 3600)
    states = {tenant: asyncio.run(freshness(deployment, tenant)) for tenant in TENANTS}
    assert states == {"acme": FreshnessState.FAIL, "beta": FreshnessState.PASS}


async def freshness(deployment: Deployment, tenant: str) -> FreshnessState:
    """What the daemon finds about the clients of a tenant."""
    context = deployment.process.create_request_context()
    node = context.asset_graph.get(dg.AssetKey([tenant, "bms_clients"]))
    return await TimeWindowFreshnessPolicyEvaluator().evaluate_freshness(context, node)


def materialized(instance: dg.DagsterInstance, key: dg.AssetKey, when: float) -> None:
    """Store that ``key`` was materialized at this time."""
    event = DagsterEvent(
        DagsterEventType.ASSET_MATERIALIZATION.value,
        "incremental_sync",
        event_specific_data=StepMaterializationData(dg.AssetMaterialization(key)),
    )
    run = dg.DagsterRun("incremental_sync").run_id
    instance.store_event(EventLogEntry(None, "info", "it was read", run, when, dagster_event=event))  # type: ignore[no-untyped-call]


def test_the_clients_of_a_tenant_are_loaded_without_those_of_the_other(deployment: Deployment) -> None:
    """A backfill belongs to one asset, and its partitions to one tenant."""
    context = deployment.process.create_request_context()
    for tenant in TENANTS:
        definition = context.asset_graph.get(dg.AssetKey([tenant, "loaded_by_client"])).partitions_def
        assert isinstance(definition, dg.DynamicPartitionsDefinition)
        assert definition.name == f"{tenant}_clients"
        found = definition.get_partition_keys(dynamic_partitions_store=deployment.instance)
        assert found == deployment.instance.get_dynamic_partitions(f"{tenant}_clients") != []
