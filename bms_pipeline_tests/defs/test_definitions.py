"""What Dagster loads: which Dagster assets there are, in which group, below what, checked by what."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml

from bms_pipeline.core.entities import ENTITIES
from bms_pipeline.core.errors import SettingsError
from bms_pipeline.core.settings import read_schedule_settings
from bms_pipeline.definitions import defs as load_definitions
from bms_pipeline.defs.assets.by_client import OUTCOME_COLUMNS
from bms_pipeline.defs.assets.load import RESULT_COLUMNS
from bms_pipeline.defs.assets.reconcile import PLAN_COLUMNS
from bms_pipeline.warehouse.connection import Warehouse

ROOT = Path(__file__).parents[2]
SCHEMA = "dagster/column_schema"

SPECS = """
bms_asset_details     extract    -
bms_assets            extract    -
bms_clients           extract    -
bms_contacts          extract    -
bms_locations         extract    -
bms_users             extract    -
loaded_assets         load       loaded_clients sync_plan
loaded_by_client      load       loaded_clients
loaded_clients        load       sync_plan
loaded_contacts       load       loaded_clients sync_plan
loaded_locations      load       loaded_clients sync_plan
loaded_users          load       sync_plan
passportal_assets     extract    -
passportal_clients    extract    -
passportal_contacts   extract    -
passportal_locations  extract    -
passportal_users      extract    -
reconciled_assets     reconcile  bms_assets passportal_assets reconciled_clients sync_inputs
reconciled_clients    reconcile  bms_clients passportal_clients sync_inputs
reconciled_contacts   reconcile  bms_contacts passportal_contacts reconciled_clients sync_inputs
reconciled_locations  reconcile  bms_locations passportal_locations reconciled_clients sync_inputs
reconciled_users      reconcile  bms_users passportal_users sync_inputs
sync_inputs           reconcile  bms_assets bms_clients bms_contacts bms_locations bms_users passportal_assets passportal_clients passportal_contacts passportal_locations passportal_users
sync_plan             reconcile  reconciled_assets reconciled_clients reconciled_contacts reconciled_locations reconciled_users
sync_result           load       loaded_assets loaded_clients loaded_contacts loaded_locations loaded_users
"""  # noqa: E501

CHECKS = """
bms_assets            completeness details full_sweep
bms_clients           completeness doctor full_sweep
bms_contacts          completeness full_sweep
bms_locations         completeness full_sweep
bms_users             completeness full_sweep
loaded_assets         client_boundary one_to_one
loaded_clients        one_to_one
loaded_contacts       client_boundary one_to_one
loaded_locations      client_boundary one_to_one
loaded_users          one_to_one
passportal_clients    doctor
reconciled_assets     client_boundary one_to_one
reconciled_clients    one_to_one
reconciled_contacts   client_boundary one_to_one
reconciled_locations  client_boundary one_to_one
reconciled_users      one_to_one
sync_plan             conservation
sync_result           conservation failing hand_overs match_rate one_marker open_intents
"""


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return load_definitions()


def test_the_dagster_assets_are_these(definitions: dg.Definitions) -> None:
    found = [
        f"{spec.key.to_user_string():<22}{spec.group_name:<11}"
        + (" ".join(sorted(each.asset_key.to_user_string() for each in spec.deps)) or "-")
        for spec in sorted(definitions.resolve_all_asset_specs(), key=lambda each: each.key.to_user_string())
    ]
    assert found == SPECS.strip().splitlines()


def test_every_check_blocks_what_is_below_or_is_about_health(definitions: dg.Definitions) -> None:
    specs = [spec for each in definitions.asset_checks or () for spec in each.check_specs]
    assert {each.name for each in specs if not each.blocking} == {
        "completeness", "full_sweep", "details", "failing", "open_intents", "one_marker", "hand_overs", "match_rate",
        "doctor",
    }  # fmt: skip
    names: dict[str, list[str]] = {}
    for each in specs:
        names.setdefault(each.asset_key.to_user_string(), []).append(each.name)
    assert [f"{key:<22}{' '.join(sorted(names[key]))}" for key in sorted(names)] == CHECKS.strip().splitlines()


def test_every_dagster_asset_says_what_it_is(definitions: dg.Definitions) -> None:
    for spec in definitions.resolve_all_asset_specs():
        assert spec.description, spec.key
        assert spec.owners, spec.key
        assert {"duckdb"} <= spec.kinds, spec.key
        assert {"dagster/column_schema", "dagster/table_name"} <= spec.metadata.keys(), spec.key


def test_every_definition_says_what_it_is(definitions: dg.Definitions) -> None:
    repository = definitions.get_repository_def()
    defined: list[tuple[str, str, str | None]] = [
        *(("asset", spec.key.to_user_string(), spec.description) for spec in definitions.resolve_all_asset_specs()),
        *(
            ("check", str(spec.key), spec.description)
            for check in definitions.asset_checks or ()
            for spec in check.check_specs
        ),
        *(("job", job.name, job.description) for job in repository.get_all_jobs() if not job.name.startswith("__")),
        *(("schedule", schedule.name, schedule.description) for schedule in repository.schedule_defs),
        *(("sensor", sensor.name, sensor.description) for sensor in repository.sensor_defs),
    ]
    assert {kind: sum(1 for found, *_ in defined if found == kind) for kind in dict(row[:2] for row in defined)} == {
        "asset": 25, "check": 36, "job": 17, "schedule": 2, "sensor": 5,
    }  # fmt: skip
    assert [row[:2] for row in defined if not row[2]] == []
    assert [row[:2] for row in defined if row[2] and row[2] != row[2].strip()] == []


def test_every_column_of_every_dagster_asset_says_what_it_holds(definitions: dg.Definitions) -> None:
    silent = [
        f"{spec.key.to_user_string()}.{column.name}"
        for spec in definitions.resolve_all_asset_specs()
        for column in spec.metadata["dagster/column_schema"].columns
        if not column.description
    ]
    assert silent == []


def test_a_columns_description_comes_from_the_declaration_of_its_field(definitions: dg.Definitions) -> None:
    described = {
        spec.key.to_user_string(): {column.name: column.description for column in spec.metadata[SCHEMA].columns}
        for spec in definitions.resolve_all_asset_specs()
    }
    for entity in ENTITIES:
        for field in entity.fields:
            assert described[f"bms_{entity.name}"][field.name] == field.description
            assert field.label in described[f"loaded_{entity.name}"][f"passportal_{field.name}"]
            assert field.label in described[f"loaded_{entity.name}"][f"bms_{field.name}"]


def test_no_two_dagster_assets_but_those_of_the_details_claim_one_table(definitions: dg.Definitions) -> None:
    tables: dict[str, list[str]] = {}
    for spec in definitions.resolve_all_asset_specs():
        tables.setdefault(spec.metadata["dagster/table_name"], []).append(spec.key.to_user_string())
    assert {table: sorted(keys) for table, keys in tables.items() if len(keys) > 1} == {
        "bms.assets": ["bms_asset_details", "bms_assets"]
    }


def test_every_job_has_its_stage(definitions: dg.Definitions) -> None:
    stages: dict[str, set[str]] = {}
    for job in definitions.get_repository_def().get_all_jobs():
        if not job.name.startswith("__"):
            stages.setdefault(job.tags["bms_pipeline/stage"], set()).add(job.name)
    assert stages == {
        "1_read": {"initial_sync", "doctor"},
        "2_decide": {
            "auto_match", "create_unmatched", "match", "unmatch", "create", "exclude", "include", "import_decisions",
            "change_settings",
        },
        "3_plan": {"plan"},
        "4_finish": {"finish", "finish_clients"},
        "5_sync": {"incremental_sync", "asset_details"},
        "6_repair": {"undo"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("owner", "owners"),
    [("", ["team:service-desk"]), ("team:psa, ada@msp.example", ["team:psa", "ada@msp.example"])],
)
def test_the_owner_is_a_setting(tmp_path: Path, owner: str, owners: list[str]) -> None:
    script = (
        "from bms_pipeline.definitions import defs; import json; print(json.dumps(sorted({owner for spec in"
        " defs().resolve_all_asset_specs() for owner in spec.owners})))"
    )
    environment = {"PYTHONPATH": str(ROOT), "BMS_PIPELINE_OWNER": owner}
    answer = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, check=True, timeout=120, capture_output=True
    )
    assert json.loads(answer.stdout) == sorted(owners)


@pytest.mark.parametrize("owner", ["service-desk", "team:", "ada@", "ada@msp.example, "])
def test_an_owner_that_dagster_would_refuse_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, owner: str) -> None:
    monkeypatch.setenv("BMS_PIPELINE_OWNER", owner)
    with pytest.raises(SettingsError, match="BMS_PIPELINE_OWNER"):
        read_schedule_settings()


def test_what_reads_or_writes_the_warehouse_is_in_its_pool(definitions: dg.Definitions) -> None:
    allow_duplicate = {dg.AssetKey("bms_asset_details")}
    for each in definitions.resolve_asset_graph().assets_defs:
        if each.keys and each.keys != allow_duplicate:
            assert each.node_def.pool == "warehouse", each.keys  # type: ignore[attr-defined]


def test_accounts_are_swept_once(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    clients, locations = (graph.get(dg.AssetKey(each)) for each in ("bms_clients", "bms_locations"))
    assert clients.assets_def is locations.assets_def, "one step, whichever of them are selected"


def test_jobs_run_in_one_process_and_show_their_scope(definitions: dg.Definitions) -> None:
    for name in ("initial_sync", "incremental_sync", "plan", "finish", "match", "change_settings", "undo"):
        assert definitions.resolve_job_def(name).executor_def.name == "in_process"
    assert definitions.resolve_job_def("initial_sync").run_config == {
        "resources": {
            "scope": {"config": {"clients": [], "full_sweep": True, "only_what_is_new": False}},
            "approval": {"config": {"plan_hash": "", "by": "somebody in Dagster"}},
        }
    }


def test_finish_only_loads(definitions: dg.Definitions) -> None:
    selected = definitions.resolve_job_def("finish").asset_layer.executable_asset_keys
    assert {each.to_user_string() for each in selected} == {
        "loaded_clients", "loaded_users", "loaded_locations", "loaded_contacts", "loaded_assets", "sync_result",
    }  # fmt: skip


def test_the_declared_columns_are_the_tables_columns(tmp_path: Path) -> None:
    with Warehouse(tmp_path / "warehouse.duckdb").open() as connection:
        for table, declared in {
            "sync.operations": PLAN_COLUMNS,
            "sync.results": RESULT_COLUMNS,
            "sync.outcomes": OUTCOME_COLUMNS,
        }.items():
            rows = connection.execute(f"DESCRIBE {table}").fetchall()
            assert [row[0] for row in rows] == list(declared)


def test_the_instance_sends_nothing_and_lets_one_run_at_a_time_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    (tmp_path / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert not instance.telemetry_enabled
        assert not instance.nux_enabled
        assert instance.run_monitoring_enabled
        pools = instance.get_concurrency_config().pool_config
        assert (pools.default_pool_limit, str(pools.pool_granularity)) == (1, "PoolGranularity.RUN")


def test_the_workspace_names_the_module() -> None:
    workspace = yaml.safe_load((ROOT / "workspace.yaml").read_text(encoding="utf-8"))
    module = workspace["load_from"][0]["python_module"]
    assert module == {"module_name": "bms_pipeline.definitions", "location_name": "bms_pipeline"}


def test_loading_takes_no_file_and_no_setting(tmp_path: Path) -> None:
    """Dagster loads definitions in several processes, also before anything is set up."""
    command = [sys.executable, "-c", "from bms_pipeline.definitions import defs; defs().resolve_asset_graph()"]
    subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, check=True, timeout=60)
    assert not list(tmp_path.iterdir())
