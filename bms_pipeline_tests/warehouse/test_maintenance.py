"""The nightly maintenance of a lake: fewer files and snapshots, the same content, and nothing of a run is undone."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from bms_pipeline.core.errors import RunLocked, WarehouseBusy
from bms_pipeline.core.run_status import RunName
from bms_pipeline.sync import run_lock
from bms_pipeline.warehouse import lease, maintenance
from bms_pipeline.warehouse.connection import Warehouse, now, open_warehouse
from bms_pipeline_tests import lake
from bms_pipeline_tests.running import called
from bms_pipeline_tests.warehouse.test_lake import ROOT, homes, settings_of, shared

pytestmark = pytest.mark.skipif(bool(lake.why_no_lake()), reason=lake.why_no_lake())
__all__ = ["homes", "shared"]
NONE = timedelta(0)
CONTENT = "SELECT count(*), count(DISTINCT bms_id), sum(bms_id) FROM sync.exclusions"


def write_much(warehouse: Warehouse) -> None:
    for turn in range(12):
        with warehouse.transaction() as connection:
            connection.execute(
                "INSERT INTO sync.exclusions (entity, bms_id) SELECT 'users', range FROM range($from, $from + 50)",
                {"from": turn * 50},
            )
            connection.execute("DELETE FROM sync.exclusions WHERE bms_id % 50 < $turn", {"turn": turn})


def files_of(folder: Path) -> int:
    return sum(file.is_file() for file in folder.rglob("*exclusions*/*"))


def test_the_content_stays_and_files_and_snapshots_go(homes: tuple[Warehouse, Warehouse], tmp_path: Path) -> None:
    one, another = homes
    write_much(one)
    with one.open() as connection:
        before = connection.execute(CONTENT).fetchall()
    many = files_of(tmp_path / "lake")
    done = maintenance.maintain(one, now(), NONE, NONE)  # type: ignore[arg-type]
    assert done.tables >= 1
    assert done.snapshots >= 12
    for reading in (one.open, another.read_only):
        with reading() as connection:
            assert connection.execute(CONTENT).fetchall() == before
    again = maintenance.maintain(one, now(), NONE, NONE)  # type: ignore[arg-type]
    assert again.tables == 0
    assert again.files >= 10
    maintenance.maintain(one, now(), NONE, NONE)  # type: ignore[arg-type]  # a night later the last of them go
    assert files_of(tmp_path / "lake") < many
    with one.transaction() as connection:
        connection.execute("DELETE FROM sync.exclusions")


def test_earlier_states_stay_for_a_week(homes: tuple[Warehouse, Warehouse]) -> None:
    one, _ = homes
    write_much(one)
    done = one.maintain(now())
    assert done is not None
    assert (done.snapshots, done.files) == (0, 0)


def test_a_replaced_run_maintains_nothing(homes: tuple[Warehouse, Warehouse]) -> None:
    one, another = homes
    write_much(one)
    with one.transaction() as connection:
        lease.take(connection, one.file, RunName("the maintenance"), now())
    with another.transaction() as connection:
        lease.take(connection, another.file, RunName("a sync"), now())
    with pytest.raises(RunLocked, match=r"a sync .* took over"):
        one.maintain(now())


def test_a_write_at_the_same_moment_is_never_undone(homes: tuple[Warehouse, Warehouse]) -> None:
    """DuckLake's own merge of files brings rows back here; a table written again is a write, and one of two fails."""
    one, another = homes
    write_much(one)
    with pytest.raises(WarehouseBusy), one.transaction() as connection:  # noqa: PT012  # it fails at its end
        connection.execute("CREATE TEMP TABLE rewritten AS FROM sync.exclusions")
        connection.execute("DELETE FROM sync.exclusions")
        connection.execute("INSERT INTO sync.exclusions FROM rewritten")
        with another.transaction() as other:
            other.execute("DELETE FROM sync.exclusions WHERE bms_id % 50 = 30")
    with another.read_only() as connection:
        assert connection.execute("SELECT count(*) FROM sync.exclusions WHERE bms_id % 50 = 30").fetchall() == [(0,)]
        (rows, distinct, _), *_ = connection.execute(CONTENT).fetchall()
        assert rows == distinct


def test_the_file_needs_no_maintenance_and_a_run_in_a_lake_may_ask_for_it(
    tmp_path: Path, shared: dict[str, str]
) -> None:
    assert Warehouse(tmp_path / "warehouse.duckdb").maintain(now()) is None
    settings = settings_of(tmp_path / "home", shared)
    with run_lock.running(settings, "the maintenance"):
        assert open_warehouse(settings).maintain(now()) is not None


def test_a_command_maintains_the_lake_and_refuses_a_file(tmp_path: Path, shared: dict[str, str]) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "BMS_PIPELINE_HOME": str(tmp_path / "home")}
    done = called("maintain-lake", environment={**environment, **shared}, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Written again" in done.stdout
    refused = called("maintain-lake", environment=environment, folder=tmp_path)
    assert refused.returncode == 1
    assert "BMS_PIPELINE_LAKE is not set" in refused.stderr
    for verb in (("backup",), ("backups",), ("restore", "--yes")):  # rebuild begins an empty lake
        result = called(*verb, environment={**environment, **shared}, folder=tmp_path)
        assert result.returncode == 1
        assert "Back up the PostgreSQL database" in result.stderr
        assert lake.PASSWORD not in result.stdout + result.stderr


def test_dagster_maintains_it_every_night_where_there_is_one(tmp_path: Path, shared: dict[str, str]) -> None:
    code = (
        "from bms_pipeline.defs.tenant import build_definitions\n"
        "defs = build_definitions()\n"
        "print([schedule.name for schedule in defs.schedules])\n"
        "if 'nightly_lake_maintenance' in [schedule.name for schedule in defs.schedules]:\n"
        "    assert defs.resolve_job_def('lake_maintenance').execute_in_process().success\n"
    )
    usual = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    found = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**usual, "BMS_PIPELINE_HOME": str(tmp_path / "home"), **given},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        for given in ({}, shared)
    ]
    assert [result.returncode for result in found] == [0, 0], found[-1].stderr
    assert ["nightly_lake_maintenance" in result.stdout for result in found] == [False, True]
