"""Runs started by the console: the command line in a child process, which ends with the console.

The console holds no lock for them. It reads their progress like any other run's, with ``progress``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

from bms_pipeline.core.errors import PipelineError, RunLocked
from bms_pipeline.core.lifeline import Child
from bms_pipeline.core.processes import process_here
from bms_pipeline.core.run_status import ERROR_FILE, RunStatus, left_error, moment
from bms_pipeline.core.settings import Settings
from bms_pipeline.state.opening import open_state
from bms_pipeline.state.recording import read_status

ENDED_WELL = (0, 2)
"""Exit codes of success: done, and changes are pending."""


class Runs:
    """Starts one run at a time, and reports the active run, no matter which process started it.

    The `.env` file is in ``folder``.
    """

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings = settings
        self._folder = folder
        self._log = settings.bms_pipeline_home / "console_run.log"
        self._error = settings.bms_pipeline_home / "console_run.error.json"
        self._door = threading.Lock()
        self._child: Child | None = None
        self._label = self._started_at = ""

    def start(self, *arguments: str) -> None:
        """Start ``bms-pipeline`` with ``arguments``. Raises ``RunLocked`` while a run is active."""
        with self._door:
            current = self.current()
            if current is not None and current.is_running:
                raise RunLocked(f"{current.label} is at work.", "Let it end; the page Runs shows how far it is.")
            self._label, self._started_at = " ".join(["bms-pipeline", *arguments[:1]]), moment()
            if self._child is not None:
                self._child.let_go()
            self._error.unlink(missing_ok=True)
            descriptor = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                self._child = Child(
                    [sys.executable, "-m", "bms_pipeline.cli", *arguments],
                    env={
                        **os.environ,
                        "BMS_PIPELINE_HOME": str(self._settings.bms_pipeline_home.absolute()),
                        ERROR_FILE: str(self._error.absolute()),
                    },
                    stdin=subprocess.DEVNULL,
                    stdout=descriptor,
                    stderr=descriptor,
                    cwd=self._folder,
                )
            finally:
                os.close(descriptor)
            threading.Thread(target=self._child.process.wait, name="run", daemon=True).start()  # reaps the child

    def end(self) -> None:
        """End the active run if the console started it. The same run later continues where it stopped."""
        with self._door:
            if self._child is not None:
                self._child.end()

    def current(self) -> RunStatus | None:
        """Return the active run, or the last one."""
        told, process = read_status(open_state(self._settings)), self._child.process if self._child else None
        code = process.poll() if process is not None else None
        if process is None or (told is not None and (told.pid == process.pid or told.started_at > self._started_at)):
            return told
        if code is None:
            identity = process_here(process.pid)
            return RunStatus(self._label, process.pid, self._started_at, stage="starting", process=identity)
        if code in ENDED_WELL:
            return told
        error = self._failure()
        return RunStatus(
            self._label,
            process.pid,
            self._started_at,
            ended_at=moment(),
            message=error.message,
            next_step=error.next_step,
        )

    def _failure(self) -> PipelineError:
        """Return the error our run left when it ended before it reported any progress."""
        return left_error(self._error) or PipelineError(
            f"{self._label} ended without a message.", f"{self._log} has what it printed."
        )
