"""Homes that earlier versions wrote open in this one, with every decision; a newer one is refused."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import dagster as dg
import duckdb
import pytest
import zstandard

from bms_pipeline.core.settings import Settings
from bms_pipeline.defs.names import TENANT_TAG
from bms_pipeline.reconcile.decisions import Decision
from bms_pipeline.reports import figures
from bms_pipeline.sync import deciding, planning, recovery, run_lock
from bms_pipeline.warehouse import backups
from bms_pipeline.warehouse.connection import Warehouse
from bms_pipeline_tests.running import quick_and_soak
from bms_sandbox.process import running_sandbox

ROOT = Path(__file__).parents[1]
HOMES = Path(__file__).with_name("homes")
VERSIONS = sorted(folder.name for folder in HOMES.iterdir() if folder.is_dir())

KEPT = {
    "exclusions": "SELECT entity, bms_id, reason FROM sync.exclusions ORDER BY ALL",
    "matches": "SELECT entity, bms_id, passportal_id FROM sync.matches ORDER BY ALL",
    "ledger": "SELECT verb, entity, bms_id, decided_by FROM sync.decisions ORDER BY ALL",
    "history": "SELECT name, after, why FROM sync.settings_history ORDER BY ALL",
    "journal": "SELECT entity, bms_id, outcome FROM sync.journal ORDER BY ALL",
}


@pytest.fixture
def settings(tmp_path: Path, request: pytest.FixtureRequest) -> Settings:
    """The home of the version that the test names, unpacked."""
    home = tmp_path / "home"
    home.mkdir()
    for file in (HOMES / request.param).glob("*.zst"):
        content = zstandard.ZstdDecompressor().decompress(file.read_bytes(), max_output_size=1 << 27)
        (home / file.stem).write_bytes(content)
    return Settings(_env_file=None, bms_pipeline_home=home)  # type: ignore[call-arg]


def held(settings: Settings) -> dict[str, list[tuple[object, ...]]]:
    """What people decided and what was loaded, read with DuckDB alone."""
    with closing(duckdb.connect(str(settings.warehouse_file), read_only=True)) as connection:
        return {name: connection.execute(query).fetchall() for name, query in KEPT.items()}


def test_there_is_a_home_of_every_version_so_far() -> None:
    assert VERSIONS == ["0.1.0", "0.2.0", "0.3.0", "0.4.0", "0.5.0"]


@pytest.mark.parametrize("settings", VERSIONS, indirect=True)
def test_a_home_of_an_earlier_version_opens_with_its_decisions(settings: Settings) -> None:
    before = held(settings)
    assert all(before[each] for each in ("exclusions", "matches", "ledger", "history"))
    warehouse = Warehouse(settings.warehouse_file)
    with warehouse.open():
        pass
    assert held(settings) == before
    (copy,) = backups.backups_folder(settings.warehouse_file).glob("before-*.duckdb")
    assert backups.inspect(copy).exclusions == len(before["exclusions"])
    assert figures.status(settings, warehouse).initial_sync_finished


@pytest.mark.parametrize("settings", quick_and_soak([VERSIONS[0], VERSIONS[-1]], VERSIONS[1:-1]), indirect=True)
def test_a_home_of_an_earlier_version_is_planned_decided_and_restored(settings: Settings) -> None:
    before = held(settings)
    warehouse = Warehouse(settings.warehouse_file)
    with run_lock.running(settings, "a run"):
        planning.plan_from_stored(warehouse)
    assert held(settings) == before
    with warehouse.open() as connection:
        planned = connection.execute("SELECT entity, bms_id FROM sync.operations WHERE operation = 'create'").fetchall()
    assert not set(planned) & {(entity, bms_id) for entity, bms_id, _ in before["exclusions"]}
    deciding.decide(warehouse, [Decision("include", *before["exclusions"][0][:2])], "a person")  # type: ignore[arg-type]
    after = held(settings)
    recovery.restore(settings, recovery.find_restorable(settings))
    assert held(settings) == after


@pytest.mark.parametrize("settings", ["0.5.0"], indirect=True)
def test_a_home_of_0_5_becomes_that_of_a_named_tenant_and_keeps_what_it_holds(settings: Settings) -> None:
    runs = "SELECT label, kind, run_id, started_at, ended_at, failed_because FROM sync.runs ORDER BY epoch"
    before, warehouse = held(settings), Warehouse(settings.warehouse_file)
    with warehouse.open() as connection:
        ran = connection.execute(runs).fetchall()
    named = settings.model_copy(update={"bms_pipeline_name": "acme"})
    with run_lock.running(named, "a run"):
        planning.plan_from_stored(warehouse)
    assert held(named) == before
    with warehouse.open() as connection:
        assert connection.execute(runs).fetchall()[: len(ran)] == ran
    assert figures.status(named, warehouse).tenant == "acme"
    assert figures.status(settings, warehouse).tenant == ""


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("settings", ["0.5.0"], indirect=True)
def test_dagsters_events_stay_under_the_old_keys_when_a_home_of_0_5_is_named(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dagster_home = tmp_path / "dagster"
    dagster_home.mkdir()
    shutil.copyfile(ROOT / "dagster.yaml", dagster_home / "dagster.yaml")
    decided = held(settings)
    with running_sandbox("small", 1, tmp_path / "tenant", {"hourly_limit": None}) as sandbox:
        environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME")},
            "PYTHONPATH": str(ROOT),
            "DAGSTER_HOME": str(dagster_home),
            "BMS_URL": sandbox.url,
            "BMS_TENANT": sandbox.login["tenant"],
            "BMS_USERNAME": sandbox.login["username"],
            "BMS_PASSWORD": sandbox.login["password"],
            "BMS_PIPELINE_HOME": str(settings.bms_pipeline_home),
        }
        for name in ("", "acme"):
            command = [sys.executable, "-m", "dagster", "job", "execute", "-j", "incremental_sync"]
            subprocess.run(
                [*command, "-m", "bms_pipeline.definitions"],
                env={**environment, "BMS_PIPELINE_NAME": name},
                cwd=tmp_path,
                check=True,
                capture_output=True,
                timeout=300,
            )
    monkeypatch.setenv("DAGSTER_HOME", str(dagster_home))
    with dg.DagsterInstance.get() as instance:
        named, unnamed = instance.get_runs()
        planned = instance.get_latest_materialization_event(dg.AssetKey("sync_plan"))
        keys = {key.path[0] for key in instance.all_asset_keys()}
    assert (named.tags.get(TENANT_TAG), unnamed.tags.get(TENANT_TAG)) == ("acme", None)
    assert planned is not None
    assert planned.run_id == unnamed.run_id, "the old asset keeps its history, and gets nothing new"
    assert "sync_plan" in keys
    after = held(settings)
    for name in ("exclusions", "ledger", "history"):
        assert after[name] == decided[name]
    assert {*decided["matches"]} <= {*after["matches"]}
    assert {*decided["journal"]} <= {*after["journal"]}
