"""A Dagster home that version 0.5 set up starts: its ``dagster.yaml`` calls two modules by their former names."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from bms_pipeline.defs.instance.event_log import EventLog
from bms_pipeline.defs.instance.launcher import RunLauncher

FORMER = """
run_launcher:
  module: bms_pipeline.defs.launcher
  class: RunLauncher
event_log_storage:
  module: bms_pipeline.defs.event_log
  class: EventLog
"""


def test_the_dagster_yaml_of_version_0_5_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    (tmp_path / "dagster.yaml").write_text(FORMER, encoding="utf-8")
    with dg.DagsterInstance.get() as instance:
        assert isinstance(instance.run_launcher, RunLauncher)
        assert isinstance(instance.event_log_storage, EventLog)
