"""Whole runs in this process, against the sandbox."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest
from dagster_shared.serdes import serialize_value

from bms_pipeline import sync
from bms_pipeline.definitions import defs as load_definitions
from bms_pipeline.defs import resources
from bms_pipeline.guard import vouching
from bms_pipeline.guard.store import Store
from bms_pipeline.passportal.embedded import EmbeddedPassportal
from bms_pipeline.sandbox.passportal import fill_passportal
from bms_pipeline.sandbox.process import Sandbox, running_sandbox
from bms_pipeline.settings import Settings, read_settings
from bms_pipeline.warehouse.connection import Warehouse
from bms_pipeline_tests.load.disturbing import Slow
from bms_pipeline_tests.running import kept_open

ENTITIES = ("clients", "users", "locations", "contacts", "assets")
CANARIES = {
    "BMS_PASSWORD": "canary-password-5f1d",
    "BMS_MFA_SECRET": "CANARYMFASECRETXCANARYMFASECRETX",
    "PASSPORTAL_SECRET": "canary-passportal-77ab",
}

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
        job = self.definitions.resolve_implicit_global_asset_job_def()
        with self.kept_open():
            result = job.get_subset(asset_selection={dg.AssetKey("loaded_by_client")}).execute_in_process(
                QUIET, instance=self.instance, tags=tags, raise_on_error=False
            )
        return Run(result)

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


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with running_sandbox("small", 1, tmp_path_factory.mktemp("sandbox") / "tenant") as running:
        yield running


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return load_definitions()


@pytest.fixture(scope="module")
def environment(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[pytest.MonkeyPatch]:
    """The settings of a user of the sandbox."""
    with pytest.MonkeyPatch.context() as patch:
        for name in Settings.model_fields:
            patch.delenv(name.upper(), raising=False)
        patch.setenv("BMS_URL", sandbox.url)
        patch.setenv("BMS_TENANT", sandbox.login["tenant"])
        patch.setenv("BMS_USERNAME", sandbox.login["username"])
        patch.setenv("BMS_PASSWORD", sandbox.login["password"])
        patch.chdir(tmp_path_factory.mktemp("no-dotenv"))
        yield patch


@pytest.fixture(scope="module")
def fresh(
    definitions: dg.Definitions,
    sandbox: Sandbox,
    environment: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Pipeline]:
    """A home folder in which nothing ever ran; Passportal has the tenant's records. Not to be used, but copied."""
    home = tmp_path_factory.mktemp("fresh")
    fill_passportal(home / "passportal.duckdb", sandbox.folder)
    environment.setenv("BMS_PIPELINE_HOME", str(home))
    with dg.DagsterInstance.ephemeral() as instance:
        yield Pipeline(definitions, instance, home)


@pytest.fixture(scope="module")
def waiting(
    fresh: Pipeline, environment: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Pipeline, Run]:
    """The initial sync was launched once. Not to be used, but copied."""
    pipeline = copied(fresh, tmp_path_factory.mktemp("waiting") / "home", environment)
    return pipeline, pipeline.run("initial_sync")


@pytest.fixture(scope="module")
def finished(
    waiting: tuple[Pipeline, Run], environment: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pipeline]:
    """The initial sync is finished. Not to be changed, but copied."""
    with pytest.MonkeyPatch.context() as patch:
        pipeline = copied(waiting[0], tmp_path_factory.mktemp("finished") / "home", patch)
        assert pipeline.run("finish", plan_hash=waiting[1].metadata["sync_plan"]["plan hash"]).result.success
        yield pipeline


def copied(pipeline: Pipeline, home: Path, environment: pytest.MonkeyPatch) -> Pipeline:
    """The same in another home folder, which the settings name from now on."""
    shutil.copytree(pipeline.home, home)
    environment.setenv("BMS_PIPELINE_HOME", str(home))
    return Pipeline(pipeline.definitions, pipeline.instance, home)


def test_the_initial_sync_waits_for_a_person_then_loads_what_that_person_named(
    fresh: Pipeline, waiting: tuple[Pipeline, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = copied(waiting[0], tmp_path / "home", monkeypatch)
    run = waiting[1]
    before = fresh.passportal()
    assert run.result.success, run.failures
    assert len(run.metadata) == 17
    plan_hash = run.metadata["sync_plan"]["plan hash"]
    planned = run.metadata["sync_plan"]["operations"]
    assert planned > 100
    assert not {*(f"loaded_{name}" for name in ENTITIES), "sync_result"} & set(run.metadata), "nothing was loaded"
    assert pipeline.passportal() == before

    unnamed = pipeline.run("finish")
    assert set(unnamed.failures) == {"loaded_clients", "loaded_users"}
    assert f"launch the job `finish` with `plan_hash: {plan_hash[:12]}`" in unnamed.failures["loaded_clients"]
    assert pipeline.passportal() == before

    refused = pipeline.run("finish", plan_hash="0123456789ab")
    assert set(refused.failures) == {"loaded_clients", "loaded_users"}
    assert f"that is {plan_hash[:12]}" in refused.failures["loaded_clients"]
    assert pipeline.passportal() == before

    finished = pipeline.run("finish", plan_hash=plan_hash[:12])
    assert finished.result.success
    assert set(finished.metadata) == {*(f"loaded_{each}" for each in ENTITIES), "sync_result", "loaded_by_client"}
    result = finished.metadata["sync_result"]
    assert result["initial sync finished"]
    assert result["created"] + result["adopted"] == planned
    assert (result["pending"], result["failed"]) == (0, 0)
    assert len(pipeline.passportal()) == len(before) + result["created"]

    twice = pipeline.run("finish", plan_hash=plan_hash[:12])
    assert twice.result.success, "a second press of the button"
    assert "was loaded already, at" in twice.metadata["sync_result"]["state"]
    assert len(pipeline.passportal()) == len(before) + result["created"]

    again = pipeline.run("incremental_sync")
    assert again.result.success
    assert again.metadata["bms_clients"]["sweep"] == "incremental, complete"
    assert again.metadata["sync_plan"]["operations"] == 0
    assert again.metadata["sync_result"]["state"] == "There was nothing to do."
    assert len(pipeline.passportal()) == len(before) + result["created"]


def test_a_scheduled_run_ends_early_where_nothing_is_new(finished: Pipeline, sandbox: Sandbox) -> None:
    finished.run("incremental_sync", only_what_is_new=True)  # the first finish is itself something new
    before = sandbox.calls()
    run = finished.run("incremental_sync", only_what_is_new=True)
    assert run.result.success, run.failures
    assert set(run.metadata) == {f"{side}_{each}" for side in ("bms", "passportal") for each in ENTITIES}
    calls = {route: count - before.get(route, 0) for route, count in sandbox.calls().items()}
    assert calls["GET /v2/crm/accounts/summary"] == calls["GET /v2/crm/contacts/summary"] == 1


def test_only_the_clients_that_changed_are_told(
    finished: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = copied(finished, tmp_path / "home", monkeypatch)
    pipeline.query(
        "UPDATE bms.contacts SET job_title = 'Somebody else' WHERE bms_id = (SELECT min(bms_id) FROM"
        " sync.reconciled_contacts WHERE disposition = 'matched' AND account_id IS NOT NULL)"
    )
    ((account,),) = pipeline.query("SELECT account_id FROM bms.contacts WHERE job_title = 'Somebody else'")
    pipeline.query("UPDATE sync.inputs SET version = version + 1 WHERE name = 'bms.contacts'")
    run = pipeline.run(
        "incremental_sync",
        select=" ".join(["sync_inputs", "sync_plan", "sync_result"])
        + "".join(f" reconciled_{each} loaded_{each}" for each in ENTITIES),
    )
    assert run.result.success, run.failures
    assert [each.partition for each in run.events("loaded_by_client")] == [str(account)]


def test_the_initial_bulk_import_goes_client_by_client(
    waiting: tuple[Pipeline, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = copied(waiting[0], tmp_path / "home", monkeypatch)
    plan_hash = waiting[1].metadata["sync_plan"]["plan hash"]
    assert "waits for a person" in pipeline.import_clients(range(1)).failures["loaded_by_client"]

    assert pipeline.run("finish_clients", plan_hash=plan_hash).result.success
    clients = [row[0] for row in pipeline.query("SELECT bms_id FROM sync.matches WHERE entity = 'clients' ORDER BY 1")]
    first = pipeline.import_clients(clients[:1])
    assert first.result.success
    assert [each.partition for each in first.events("loaded_by_client")] == [str(clients[0])]
    assert pipeline.query(
        "SELECT DISTINCT account_id FROM sync.outcomes WHERE outcome IN ('created', 'adopted')"
        " AND entity NOT IN ('clients', 'users')"
    ) == [(clients[0],)]

    rest = pipeline.import_clients(clients[1:])
    assert [each.partition for each in rest.events("loaded_by_client")] == [str(each) for each in clients[1:]]
    assert pipeline.query("SELECT count(*) FROM sync.outcomes WHERE outcome = 'pending'") == [(0,)]
    assert pipeline.query("SELECT count(*) FROM sync.settings WHERE name = 'initial_sync_finished_at'") == [(1,)]


def test_a_client_can_be_imported_again(finished: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = copied(finished, tmp_path / "home", monkeypatch)
    ((client, lost), *_) = pipeline.query(
        "SELECT r.account_id, r.passportal_id FROM sync.reconciled_locations r JOIN sync.matches m"
        " ON m.entity = 'locations' AND m.bms_id = r.bms_id WHERE r.disposition = 'matched' ORDER BY ALL"
    )
    with duckdb.connect(str(pipeline.home / "passportal.duckdb")) as connection:
        connection.execute("UPDATE records SET details = MAP {} WHERE id = ?", [lost])
        connection.execute("DELETE FROM records WHERE id = ?", [lost])
    run = pipeline.import_clients([client])
    assert run.result.success, run.failures
    assert [each.partition for each in run.events("loaded_by_client")] == [str(client)]
    ((entities,),) = pipeline.query("SELECT scope FROM sync.plans ORDER BY plan_id DESC LIMIT 1")
    assert f'"clients": [{client}]' in entities


@pytest.mark.soak
def test_a_scoped_plan_is_loaded_by_launching_the_job_again_with_its_hash(
    waiting: tuple[Pipeline, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = copied(waiting[0], tmp_path / "home", monkeypatch)
    ((account,), *_) = pipeline.query(
        "SELECT bms_id FROM sync.reconciled_clients WHERE disposition = 'matched' ORDER BY bms_id"
    )
    plan = pipeline.run("initial_sync", clients=[account]).metadata["sync_plan"]
    assert plan["clients"] == str(account)
    planned = "FROM sync.operations WHERE operation <> 'skip' AND entity <> 'users'"
    assert pipeline.query(f"SELECT DISTINCT account_id {planned}") == [(account,)]

    loaded = pipeline.run("initial_sync", plan_hash=plan["plan hash"], clients=[account])
    assert loaded.result.success, loaded.failures
    result = loaded.metadata["sync_result"]
    assert result["created"] + result["adopted"] == plan["operations"]
    assert not result["initial sync finished"], "a restricted plan does not end it"


def test_an_incomplete_sweep_is_told_by_its_check_and_what_it_does_not_prove_waits(
    waiting: tuple[Pipeline, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = copied(waiting[0], tmp_path / "home", monkeypatch)
    pipeline.query(
        "INSERT INTO sync.sweeps (list_call, sweep, mode, complete, reason, records, landed_at)"
        " SELECT 'employees', 'x', 'full', false, 'drift', 7, max(landed_at) + INTERVAL 1 SECOND FROM sync.sweeps"
    )
    run = pipeline.run("plan")
    assert run.result.success, run.failures
    assert run.metadata["sync_plan"]["unproved"] > 0
    check = dg.AssetCheckKey(dg.AssetKey("bms_users"), "completeness")
    job = pipeline.definitions.resolve_implicit_global_asset_job_def()
    run = Run(
        job.get_subset(asset_selection=set(), asset_check_selection={check}).execute_in_process(
            QUIET, instance=pipeline.instance, raise_on_error=False
        )
    )
    found = run.failed_checks["bms_users completeness"]
    assert found["offenders"] == 1
    assert found["sample"][0].data["reason"] == "drift"


def test_two_links_to_one_record_stop_the_plan(
    waiting: tuple[Pipeline, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = copied(waiting[0], tmp_path / "home", monkeypatch)
    ((user,), *_) = pipeline.query("SELECT passportal_id FROM passportal.users ORDER BY passportal_id")
    pipeline.query(f"INSERT INTO sync.matches SELECT 'users', unnest([900001, 900002]), '{user}', 'match', now()")
    run = pipeline.run("incremental_sync", select="reconciled_users sync_plan")
    assert set(run.failed_checks) == {"reconciled_users one_to_one"}
    assert run.failed_checks["reconciled_users one_to_one"]["sample"][0].data == {
        "side": "Passportal", "id": user, "links": 2, "linked_to": "900001, 900002",
    }  # fmt: skip
    assert "sync_plan" not in run.metadata


def test_a_link_into_another_client_is_found(
    waiting: tuple[Pipeline, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = copied(waiting[0], tmp_path / "home", monkeypatch)
    pipeline.query(
        "UPDATE sync.reconciled_contacts SET passportal_id = (SELECT min(p.passportal_id) FROM passportal.contacts p"
        " WHERE p.client_id <> reconciled_contacts.client_id)"
        " WHERE bms_id = (SELECT min(bms_id) FROM sync.reconciled_contacts WHERE disposition = 'matched')"
    )
    check = dg.AssetCheckKey(dg.AssetKey("reconciled_contacts"), "client_boundary")
    job = pipeline.definitions.resolve_implicit_global_asset_job_def()
    run = Run(
        job.get_subset(asset_selection=set(), asset_check_selection={check}).execute_in_process(
            QUIET, instance=pipeline.instance, raise_on_error=False
        )
    )
    assert run.failed_checks["reconciled_contacts client_boundary"]["offenders"] == 1


def test_a_part_of_the_entities_is_planned_by_selecting_its_dagster_assets(
    fresh: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = copied(fresh, tmp_path / "home", monkeypatch)
    run = pipeline.run(
        "incremental_sync", select="bms_users passportal_users reconciled_users sync_plan loaded_users sync_result"
    )
    assert run.result.success, run.failures
    assert run.metadata["sync_plan"]["entities"] == "users"
    plan_hash = run.metadata["sync_plan"]["plan hash"]
    loaded = pipeline.run("finish", plan_hash=plan_hash)
    assert loaded.result.success, loaded.failures
    assert [key for key in loaded.metadata if key.startswith("loaded_")] == ["loaded_users"]
    assert pipeline.query("SELECT loaded_at IS NOT NULL FROM sync.plans ORDER BY plan_id DESC LIMIT 1") == [(True,)]


@pytest.mark.parametrize("how", ["finish", "by client"])
def test_a_run_waits_for_a_lost_answer_without_the_home_folder_and_then_goes_on(
    waiting: tuple[Pipeline, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    pipeline = copied(waiting[0], tmp_path / "home", monkeypatch)
    plan_hash = waiting[1].metadata["sync_plan"]["plan hash"]
    ((lost, client), *_) = pipeline.query(
        "SELECT bms_id, account_id FROM sync.operations WHERE entity = 'contacts' AND operation = 'create' ORDER BY 1"
    )
    if how == "by client":
        assert pipeline.run("finish_clients", plan_hash=plan_hash).result.success
    slow = Slow(EmbeddedPassportal(pipeline.home / "passportal.duckdb"), ("contacts", lost), batch_size=5000)
    slow.unknown_seconds = 2.0
    monkeypatch.setattr(sync, "open_target", lambda settings: slow)
    let_go: list[bool] = []
    given_back = resources.Pipeline.let_go

    def watching(resource: resources.Pipeline) -> None:
        given_back(resource)
        with sync.running(read_settings(None), "Somebody else"):
            let_go.append(True)

    monkeypatch.setattr(resources.Pipeline, "let_go", watching)
    run = pipeline.run("finish", plan_hash=plan_hash) if how == "finish" else pipeline.import_clients([client])
    assert run.result.success, run.failures
    assert let_go == [True], "somebody else could work meanwhile"
    assert pipeline.query("SELECT count(*) FROM sync.journal WHERE outcome IS NULL") == [(0,)]
    query = f"SELECT outcome FROM sync.outcomes WHERE entity = 'contacts' AND bms_id = {lost}"
    assert pipeline.query(query) == [("created",)]
    assert [marker for _, kind, _, _, marker in pipeline.passportal() if kind == "contact"].count(str(lost)) == 1
    if how == "finish":
        assert run.metadata["sync_result"]["initial sync finished"]
    else:
        assert [event.partition for event in run.events("loaded_by_client")] == [str(client)]


def test_contacts_alone_before_their_clients_say_what_to_materialize_first(
    waiting: tuple[Pipeline, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = copied(waiting[0], tmp_path / "home", monkeypatch)
    plan_hash = waiting[1].metadata["sync_plan"]["plan hash"]
    run = pipeline.run("finish", select="loaded_contacts", plan_hash=plan_hash)
    assert "Materialize `loaded_clients` first" in run.failures["loaded_contacts"]
    assert pipeline.query("SELECT count(*) FROM sync.journal WHERE outcome = 'refused'") == [(0,)]
    assert pipeline.run("finish", plan_hash=plan_hash).result.success
    assert pipeline.query("SELECT count(*) FROM sync.outcomes WHERE outcome IN ('failed', 'pending')") == [(0,)]


def test_a_wrong_password_is_told_tried_once_and_shown_nowhere(
    fresh: Pipeline,
    sandbox: Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    pipeline = copied(fresh, tmp_path / "home", monkeypatch)
    for name, value in CANARIES.items():
        monkeypatch.setenv(name, value)
    sandbox.reset_calls()
    run = pipeline.run("initial_sync")
    assert set(run.failures) == {"sweep_accounts", "sweep_employees", "sweep_contacts", "sweep_assets"}
    for text in run.failures.values():
        assert "BMS refused the sign-in" in text
        assert "→ Check BMS_" in text
        assert "LoginRefused" not in text, "the operator reads a sentence, not our class names"
    assert sandbox.calls()["POST /v2/security/authenticate"] == 1, "a few more would lock the user out"

    records = pipeline.instance.all_logs(run.result.run_id)
    stored = "\n".join([*map(repr, records), *(serialize_value(each) for each in records), *capfd.readouterr()])
    files = b"".join(each.read_bytes() for each in pipeline.home.rglob("*") if each.is_file())
    assert "sweep_accounts" in stored
    for canary in CANARIES.values():
        assert canary not in stored
        assert canary.encode() not in files
