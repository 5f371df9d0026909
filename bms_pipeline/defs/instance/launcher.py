"""Dagster's run launcher for ``dagster.yaml``: the default one, which also tells a dead run from a live one.

After a kill of the code server, or of the whole machine, Dagster's default launcher leaves a run *started*. Its maximum
run time ends the run hours later, and until then the pool of warehouse writers stays taken (measured,
``docs/decisions.md``).
Here run monitoring asks whether the run's process is alive. If it is not, monitoring fails the run, and run retries
start it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psutil
from dagster import DagsterEventType, DagsterRun
from dagster._core.events import EngineEventData
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, WorkerStatus
from dagster._serdes import ConfigurableClassData

CLOCK_SLACK_SECONDS = 5.0
"""A process that started later than this after the run's event is another one with a reused number."""


class RunLauncher(DefaultRunLauncher):
    """Launches runs as processes of this machine, and reports whether they are alive."""

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> RunLauncher:
        """Create the launcher with Dagster's own configuration of the default one."""
        return cls(inst_data=inst_data, **config_value)

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Whether run monitoring can ask. It can."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Report whether the process working on ``run`` is alive."""
        said = [
            (event.timestamp, int(str(data.metadata["pid"].value)))
            for event in self._instance.all_logs(run.run_id, of_type=DagsterEventType.ENGINE_EVENT)
            if event.dagster_event
            and isinstance(data := event.dagster_event.event_specific_data, EngineEventData)
            and "pid" in data.metadata
        ]
        if not said:
            return CheckRunHealthResult(WorkerStatus.UNKNOWN, "no process ever said that it works on this run")
        when, pid = said[-1]
        if is_alive(pid, when):
            return CheckRunHealthResult(WorkerStatus.RUNNING, run_worker_id=str(pid))
        return CheckRunHealthResult(WorkerStatus.FAILED, f"its process {pid} is gone", run_worker_id=str(pid))


def is_alive(pid: int, when: float) -> bool:
    """Return whether the process with number ``pid`` at ``when`` (seconds since the epoch) still runs."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= when + CLOCK_SLACK_SECONDS
    except psutil.NoSuchProcess:
        return False
