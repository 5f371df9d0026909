"""Dagster's instance as `dagster.yaml` sets it up: its event log, and the settings of its processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from unittest import mock

import dagster as dg
import pytest
from dagster._core.storage.event_log import SqliteEventLogStorage

from bms_pipeline.core import settings
from bms_pipeline.defs.instance import event_log
from bms_pipeline.defs.instance.event_log import EventLog

ROOT = Path(__file__).parents[2]


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    shutil.copyfile(ROOT / "dagster.yaml", tmp_path / "dagster.yaml")
    with dg.DagsterInstance.get() as instance:
        yield instance


@dg.asset
def some() -> None:
    """A Dagster asset like any other."""


def _run(instance: dg.DagsterInstance) -> str:
    return dg.materialize([some], instance=instance).run_id


def test_the_event_log_is_the_default_one_kept_open(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_log, "OPEN_AT_MOST", 3)
    log = instance.event_log_storage
    assert isinstance(log, EventLog)
    runs = [_run(instance) for _ in range(5)]
    assert len(log._engines) == 3
    assert all(instance.get_run_stats(each).steps_succeeded == 1 for each in runs)
    events = instance.get_latest_materialization_event(dg.AssetKey("some"))
    assert events is not None
    default = SqliteEventLogStorage(str(tmp_path / "history" / "runs"))
    assert default.get_latest_materialization_events([dg.AssetKey("some")])[dg.AssetKey("some")] == events
    default.dispose()


def test_a_page_that_follows_a_run_is_told_at_once(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    run = _run(instance)
    page = EventLog(str(tmp_path / "history" / "runs"))  # of another process
    told: Queue[str] = Queue()
    page.watch(run, page.get_records_for_run(run).cursor, lambda event, _: told.put(event.message))
    try:
        for message in ("first", "second"):
            instance.report_engine_event(message, instance.get_run_by_id(run))
            assert told.get(timeout=20) == message
    finally:
        page.dispose()


def test_what_was_told_before_a_kill_is_there_after_it(tmp_path: Path) -> None:
    shutil.copyfile(ROOT / "dagster.yaml", tmp_path / "dagster.yaml")
    code = (
        "import os, signal, dagster as dg\n"
        "@dg.asset\ndef some(context):\n"
        "    for number in range(50):\n"
        "        context.log_event(dg.AssetMaterialization('some', partition=str(number)))\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "dg.materialize([some], instance=dg.DagsterInstance.get())\n"
    )
    environment = {**os.environ, "DAGSTER_HOME": str(tmp_path)}
    died = subprocess.run([sys.executable, "-c", code], env=environment, check=False, timeout=60, capture_output=True)
    assert died.returncode == -9
    log = SqliteEventLogStorage(str(tmp_path / "history" / "runs"))
    assert len(log.get_materialized_partitions(dg.AssetKey("some"))) == 50
    log.dispose()


def test_an_exported_setting_goes_before_the_env_file_in_dagsters_processes_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dagster loads ``.env`` over the environment: a sandbox's `dev` next to a real one worked on the real tenant."""
    names = sorted(settings._NAMES)
    (tmp_path / ".env").write_text("".join(f"{name}=real\n" for name in names) + "OTHER_PROGRAMS=text\n")
    (tmp_path / ".env").chmod(0o600)
    shutil.copyfile(ROOT / "dagster.yaml", tmp_path / "dagster.yaml")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OTHER_PROGRAMS", raising=False)
    for name in names:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BMS_TENANT", "exported")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with mock.patch.dict(os.environ), dg.DagsterInstance.get() as instance:
        instance.inject_env_vars("bms_pipeline")
        assert (os.environ["BMS_TENANT"], os.environ["DAGSTER_HOME"]) == ("exported", str(tmp_path))
        assert os.environ["OTHER_PROGRAMS"] == "text"
        assert not [name for name in names if os.environ.get(name) == "real"]
