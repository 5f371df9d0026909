"""``doctor`` in a child process of the console: it asks the services, and leaves its report in the state.

It is no run: it holds nothing, so it may look while a run is at work.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

from bms_pipeline.core.errors import PipelineError
from bms_pipeline.core.lifeline import Child
from bms_pipeline.core.run_status import ERROR_FILE, left_error
from bms_pipeline.core.settings import Settings
from bms_pipeline.doctor.kept_report import KeptReport, forget_report, read_report


class Examinations:
    """Starts one examination at a time. The `.env` file is in ``folder``."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings = settings
        self._folder = folder
        self._error = settings.bms_pipeline_home / "console_doctor.error.json"
        self._door = threading.Lock()
        self._child: Child | None = None

    @property
    def is_running(self) -> bool:
        """Whether the services are being looked at."""
        return self._child is not None and self._child.process.poll() is None

    @property
    def report(self) -> KeptReport | None:
        """The last report, also one of the command line or of Dagster."""
        return read_report(self._settings)

    @property
    def failure(self) -> PipelineError | None:
        """The error that ended the last examination without a report."""
        return None if self.is_running else left_error(self._error)

    def start(self) -> None:
        """Begin to look at the services, unless that is under way."""
        with self._door:
            if self.is_running:
                return
            if self._child is not None:
                self._child.let_go()
            self._settings.bms_pipeline_home.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._error.unlink(missing_ok=True)
            self._child = Child(
                [sys.executable, "-m", "bms_pipeline.cli", "doctor"],
                env={
                    **os.environ,
                    "BMS_PIPELINE_HOME": str(self._settings.bms_pipeline_home.absolute()),
                    ERROR_FILE: str(self._error.absolute()),
                },
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=self._folder,
            )
            threading.Thread(target=self._child.process.wait, name="doctor", daemon=True).start()  # reaps the child

    def forget(self) -> None:
        """Drop the last report, and an examination under way: they are about another connection."""
        self.end()
        self._error.unlink(missing_ok=True)
        forget_report(self._settings)

    def end(self) -> None:
        """End the examination under way."""
        with self._door:
            if self._child is not None:
                self._child.end()
                self._child = None
