"""Runs that the console starts: the command line in a process of its own, which ends with the console.

The console holds no lock for them. How far they are, it reads as it does of any other run: ``progress``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

from bms_pipeline.errors import PipelineError, RunLocked
from bms_pipeline.lifeline import Child
from bms_pipeline.progress import Run, moment, read_run
from bms_pipeline.settings import Settings

ENDED_WELL = (0, 2)
"""Exit codes: done, and changes are pending."""


class Runs:
    """Starts one run at a time, and knows of the run at work whoever started it. ``folder`` is where its `.env` is."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings = settings
        self._folder = folder
        self._log = settings.bms_pipeline_home / "console_run.log"
        self._door = threading.Lock()
        self._child: Child | None = None
        self._what = self._started_at = ""

    def start(self, *arguments: str) -> None:
        """Start ``bms-pipeline`` with ``arguments``. Raises ``RunLocked`` while a run is at work."""
        with self._door:
            current = self.current()
            if current is not None and current.at_work:
                raise RunLocked(f"{current.what} is at work.", "Let it end; the page Runs shows how far it is.")
            self._what, self._started_at = " ".join(["bms-pipeline", *arguments[:1]]), moment()
            if self._child is not None:
                self._child.let_go()
            descriptor = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                self._child = Child(
                    [sys.executable, "-m", "bms_pipeline.cli", *arguments],
                    env={**os.environ, "BMS_PIPELINE_HOME": str(self._settings.bms_pipeline_home.absolute())},
                    stdin=subprocess.DEVNULL,
                    stdout=descriptor,
                    stderr=descriptor,
                    cwd=self._folder,
                )
            finally:
                os.close(descriptor)
            threading.Thread(target=self._child.process.wait, name="run", daemon=True).start()  # nobody else buries it

    def end(self) -> None:
        """Have the run end that is at work, if the console started it; the same run goes on where it stopped."""
        with self._door:
            if self._child is not None:
                self._child.end()

    def current(self) -> Run | None:
        """The run at work, or the last one."""
        told, process = read_run(self._settings.progress_file), self._child.process if self._child else None
        code = process.poll() if process is not None else None
        if process is None or (told is not None and (told.pid == process.pid or told.started_at > self._started_at)):
            return told
        if code is None:
            return Run(self._what, process.pid, self._started_at, "starting")
        if code in ENDED_WELL:
            return told
        error = self._failure()
        return Run(
            self._what,
            process.pid,
            self._started_at,
            ended_at=moment(),
            message=error.message,
            next_step=error.next_step,
        )

    def _failure(self) -> PipelineError:
        """What a run of ours that ended before it told anything wrote on its way out."""
        text = self._log.read_text(encoding="utf-8", errors="replace")[-20_000:]
        message, _, next_step = text.rpartition("Error:")[2].partition("Next:")
        return PipelineError(message.strip()[:2_000] or f"{self._what} did not start.", next_step.strip()[:500])
