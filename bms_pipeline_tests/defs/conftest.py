"""A small tenant's homes, made once: nothing ever ran, a plan waits, the initial sync is finished. Tests get copies."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from bms_pipeline.core.settings import Settings
from bms_pipeline.definitions import defs as load_definitions
from bms_pipeline.guard import vouching
from bms_pipeline.guard.store import Store
from bms_pipeline.warehouse.connection import Warehouse
from bms_pipeline_tests.running import kept_open
from bms_sandbox.passportal import fill_passportal
from bms_sandbox.process import Sandbox, running_sandbox

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class Run:
    """What one run left behind."""

    result: dg.ExecuteInProcessResult

    @property
    def metadata(self) -> dict[str, dict[str, Any]]:
        """Dagster asset → its metadata values; only what was materialised is there."""
        found = [each.materialization for each in self.result.get_asset_materialization_events()]
        return {
            each.asset_key.to_user_string(): {
                name: value.records if isinstance(value, dg.TableMetadataValue) else value.value
                for name, value in each.metadata.items()
            }
            for each in found
        }

    def events(self, key: str) -> list[dg.AssetMaterialization]:
        """The materializations of one Dagster asset, in order."""
        found = [each.materialization for each in self.result.get_asset_materialization_events()]
        return [each for each in found if each.asset_key.to_user_string() == key]

    @property
    def failed_checks(self) -> dict[str, dict[str, Any]]:
        """``asset check`` → its metadata values."""
        return {
            f"{each.asset_key.to_user_string()} {each.check_name}": {
                name: value.records if isinstance(value, dg.TableMetadataValue) else value.value
                for name, value in each.metadata.items()
            }
            for each in self.result.get_asset_check_evaluations()
            if not each.passed
        }

    @property
    def failures(self) -> dict[str, str]:
        """Step → what Dagster shows about its failure."""
        failed = [each for each in self.result.all_events if each.is_step_failure]
        return {str(each.step_key): each.step_failure_data.error_display_string for each in failed}


@dataclass(frozen=True)
class Pipeline:
    """The definitions over one home folder and one Dagster instance."""

    definitions: dg.Definitions
    instance: dg.DagsterInstance
    home: Path

    def run(self, job: str, plan_hash: str = "", select: str = "", **scope: Any) -> Run:
        """Launch ``job``, or the part of it that ``select`` names."""
        chosen = [dg.AssetKey(each) for each in select.split()] or None
        resources: dict[str, Any] = {"approval": {"config": {"plan_hash": plan_hash}}}
        if scope:
            resources["scope"] = {"config": scope}
        config = QUIET | ({} if chosen and not plan_hash else {"resources": resources})
        with self.kept_open():
            result = self.definitions.resolve_job_def(job).execute_in_process(
                run_config=config,
                instance=self.instance,
                asset_selection=chosen,
                raise_on_error=False,
                # As the gate in front of Dagster's pages launches it for somebody who signed in.
                tags={vouching.TAG: vouching.vouch(Store(self.home / "guard"), job, config, "Alex")},
            )
        return Run(result)

    def import_clients(self, clients: Sequence[int]) -> Run:
        """Materialize the partitions of these clients, in one run as a backfill does."""
        keys = [str(each) for each in clients]
        self.instance.add_dynamic_partitions("clients", keys)
        tags = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}
        return self.alone("loaded_by_client", tags=tags)

    def alone(self, *keys: str, tags: dict[str, str] | None = None) -> Run:
        """Materialize these Dagster assets and nothing else, without their checks, as their page does."""
        return self._part(tags, asset_selection={dg.AssetKey(each) for each in keys})

    def check_alone(self, key: str, name: str) -> Run:
        """Execute one check of a Dagster asset and nothing else."""
        check = dg.AssetCheckKey(dg.AssetKey(key), name)
        return self._part(None, asset_selection=set(), asset_check_selection={check})

    def _part(self, tags: dict[str, str] | None, **selection: Any) -> Run:
        job = self.definitions.resolve_implicit_global_asset_job_def()
        with self.kept_open():
            return Run(
                job.get_subset(**selection).execute_in_process(
                    QUIET, instance=self.instance, tags=tags, raise_on_error=False
                )
            )

    def kept_open(self) -> AbstractContextManager[None]:
        """See ``running.kept_open``."""
        return kept_open(Settings(_env_file=None, bms_pipeline_home=self.home))  # type: ignore[call-arg]

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Ask the warehouse."""
        with Warehouse(self.home / "warehouse.duckdb").open() as connection:
            return connection.execute(statement).fetchall()

    def passportal(self) -> list[tuple[Any, ...]]:
        """Every record that Passportal has."""
        with duckdb.connect(str(self.home / "passportal.duckdb"), read_only=True) as connection:
            return connection.execute("SELECT id, type, client_id, title, marker FROM records ORDER BY id").fetchall()

    def copied(self, folder: Path, environment: pytest.MonkeyPatch) -> Pipeline:
        """The same in another home folder, which the settings name from now on."""
        home = shutil.copytree(self.home, folder / "home")
        environment.setenv("BMS_PIPELINE_HOME", str(home))
        return Pipeline(self.definitions, self.instance, home)


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with running_sandbox("small", 1, tmp_path_factory.mktemp("sandbox") / "tenant") as running:
        yield running


@pytest.fixture(scope="session")
def definitions() -> dg.Definitions:
    return load_definitions()


@contextlib.contextmanager
def settings_of_a_user(sandbox: Sandbox, folder: Path) -> Iterator[pytest.MonkeyPatch]:
    """The environment of a user of the sandbox, who has nothing else set, in a ``folder`` without ``.env``."""
    with pytest.MonkeyPatch.context() as patch:
        for name in Settings.model_fields:
            patch.delenv(name.upper(), raising=False)
        patch.setenv("BMS_URL", sandbox.url)
        patch.setenv("BMS_TENANT", sandbox.login["tenant"])
        patch.setenv("BMS_USERNAME", sandbox.login["username"])
        patch.setenv("BMS_PASSWORD", sandbox.login["password"])
        patch.chdir(folder)
        yield patch


@pytest.fixture(scope="session")
def made_fresh(
    definitions: dg.Definitions, sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pipeline]:
    """A home folder in which nothing ever ran; Passportal has the tenant's records."""
    home = tmp_path_factory.mktemp("fresh") / "home"
    home.mkdir()
    fill_passportal(home / "passportal.duckdb", sandbox.folder)
    with dg.DagsterInstance.ephemeral() as instance:
        yield Pipeline(definitions, instance, home)


@pytest.fixture(scope="session")
def made_waiting(
    made_fresh: Pipeline, sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Pipeline, Run]:
    """The initial sync was launched once."""
    folder = tmp_path_factory.mktemp("waiting")
    with settings_of_a_user(sandbox, folder) as environment:
        pipeline = made_fresh.copied(folder, environment)
        return pipeline, pipeline.run("initial_sync")


@pytest.fixture(scope="session")
def made_finished(
    made_waiting: tuple[Pipeline, Run], sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Pipeline, Run]:
    """The initial sync is finished: somebody named the beginning of its plan's hash."""
    folder = tmp_path_factory.mktemp("finished")
    waiting, first = made_waiting
    with settings_of_a_user(sandbox, folder) as environment:
        pipeline = waiting.copied(folder, environment)
        return pipeline, pipeline.run("finish", plan_hash=first.metadata["sync_plan"]["plan hash"][:12])


@pytest.fixture
def environment(sandbox: Sandbox, tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """The environment of a user of the sandbox, for one test."""
    with settings_of_a_user(sandbox, tmp_path) as patch:
        yield patch


@pytest.fixture
def fresh(made_fresh: Pipeline, tmp_path: Path, environment: pytest.MonkeyPatch) -> Pipeline:
    """A home of the test's own in which nothing ever ran."""
    return made_fresh.copied(tmp_path, environment)


@pytest.fixture
def waiting(made_waiting: tuple[Pipeline, Run], tmp_path: Path, environment: pytest.MonkeyPatch) -> Pipeline:
    """A home of the test's own in which the plan of the initial sync waits for a person."""
    return made_waiting[0].copied(tmp_path, environment)


@pytest.fixture
def finished(made_finished: tuple[Pipeline, Run], tmp_path: Path, environment: pytest.MonkeyPatch) -> Pipeline:
    """A home of the test's own in which the initial sync is finished."""
    return made_finished[0].copied(tmp_path, environment)


@pytest.fixture
def plan_hash(made_waiting: tuple[Pipeline, Run]) -> str:
    """The hash of the plan that waits in ``waiting``."""
    return str(made_waiting[1].metadata["sync_plan"]["plan hash"])
