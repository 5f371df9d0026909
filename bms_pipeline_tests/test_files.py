"""Files are whole or not there, and what a killed process leaves is cleared by the next run."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

from bms_pipeline.core.files import atomic_write, clear_unfinished


def _die_in_the_middle(file: Path) -> None:
    with atomic_write(file) as unfinished:
        unfinished.write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_killed_process_left_is_cleared_and_a_file_that_is_being_made_stays(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("not ours")
    process = multiprocessing.get_context("fork").Process(target=_die_in_the_middle, args=(tmp_path / "a.json",))
    process.start()
    process.join()
    process.close()
    assert len(list(tmp_path.iterdir())) == 2
    with atomic_write(tmp_path / "b.json") as unfinished:
        unfinished.write_text("whole")
        clear_unfinished(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {".env", "b.json"}
    assert (tmp_path / "b.json").read_text() == "whole"
