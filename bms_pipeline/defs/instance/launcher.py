"""Dagster's run launcher for ``dagster.yaml``: the default one, which also tells a dead run from a live one.

After a kill of the code server, or of the whole machine, Dagster's default launcher leaves a run *started*. Its maximum
run time ends the run hours later, and until then the pool of warehouse writers stays taken (measured,
``docs/decisions.md``).
Here run monitoring asks whether the run is alive. If it is dead, monitoring fails the run, and run retries start it
again. The daemon may run in another container than the run: see ``core.processes``.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import grpc
from dagster import DagsterRun, DagsterRunStatus
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, WorkerStatus
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import ConfigurableClassData
from dagster_shared.serdes import deserialize_value

from bms_pipeline.core.processes import life_of
from bms_pipeline.core.vocabulary import Life
from bms_pipeline.defs.instance.identity import identity_of, last_beat

ASK_SECONDS = 5
"""How long an answer of a code server is waited for."""
GONE_SECONDS = 180.0
"""A code server that does not answer in time counts as gone when the run is silent for this long, too."""
_LATE = grpc.StatusCode.DEADLINE_EXCEEDED
_MOST_WATCHED = 1_000


class RunLauncher(DefaultRunLauncher):
    """Launches runs as processes of their code server, and reports whether they are alive."""

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        self._watched: dict[str, tuple[float, float]] = {}
        super().__init__(inst_data)

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> RunLauncher:
        """Create the launcher with Dagster's own configuration of the default one."""
        return cls(inst_data=inst_data, **config_value)

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Whether run monitoring can ask. It can."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Report whether the process working on ``run`` is alive.

        An unknown life is reported as running, with the reason: Dagster fails a run that is reported as unknown.
        """
        if run.status is not DagsterRunStatus.STARTED:
            return CheckRunHealthResult(WorkerStatus.UNKNOWN, "nothing works on this run now")
        process = identity_of(run)
        silent = self._silent_seconds(run)
        life = life_of(process, silent, lambda: self._ask(run, silent))
        who = str(process) if process else "its process, which left no identity,"
        worker = str(process.pid) if process else None
        if life is Life.ALIVE:
            return CheckRunHealthResult(WorkerStatus.RUNNING, run_worker_id=worker)
        if life is Life.DEAD:
            why = "" if process and process.is_here else f": silent for {silent:.0f} s, and no code server knows it"
            return CheckRunHealthResult(WorkerStatus.FAILED, f"{who} is gone{why}", run_worker_id=worker)
        why = f"{who} is silent for {silent:.0f} s; nothing proves that it is gone"
        return CheckRunHealthResult(WorkerStatus.RUNNING, why, transient=True, run_worker_id=worker)

    def _silent_seconds(self, run: DagsterRun) -> float:
        """Return the seconds without a heartbeat. The clocks of two machines may differ, so a change counts as a beat.

        What is seen for the first time counts as a beat, too: the next look tells whether it still changes.
        """
        record = self._instance.get_run_record_by_id(run.run_id)
        beat = last_beat(self._instance, run.run_id) or (record.start_time if record else None) or time.time()
        seen_beat, seen_at = self._watched.get(run.run_id, (None, 0.0))
        if beat != seen_beat:
            if len(self._watched) >= _MOST_WATCHED:
                self._watched.clear()
            self._watched[run.run_id] = (beat, time.monotonic())
            return 0.0
        return max(time.time() - beat, time.monotonic() - seen_at)

    def _ask(self, run: DagsterRun, silent_seconds: float) -> Life:
        """Ask the code server that started the run. Dead: it does not know the run, or nobody is there any more.

        A code server that does not answer in time may be busy, so that takes a longer silence.
        """
        client = self._get_grpc_client_for_termination(run.run_id)  # type: ignore[no-untyped-call]
        if client is None:
            return Life.UNKNOWN
        try:
            request = CanCancelExecutionRequest(run_id=run.run_id)
            answer = deserialize_value(client.can_cancel_execution(request, ASK_SECONDS), CanCancelExecutionResult)
        except DagsterUserCodeUnreachableError as error:
            is_late = isinstance(error.__cause__, grpc.Call) and error.__cause__.code() is _LATE
            return Life.UNKNOWN if is_late and silent_seconds < GONE_SECONDS else Life.DEAD
        return Life.UNKNOWN if answer.can_cancel else Life.DEAD
