"""``--version``, and the completion that a shell asks for."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from bms_pipeline_tests.running import called

BARE = {"PATH": os.environ["PATH"]}


def completed(typed: str, folder: Path) -> list[str]:
    """What bash offers after these words."""
    words = typed.split(" ")
    asked = {"_BMS_PIPELINE_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(len(words) - 1)}
    ran = subprocess.run(
        [sys.executable, "-m", "bms_pipeline.cli"], env=BARE | asked, cwd=folder, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout.split()


def test_version_is_one_line_that_fits_a_report(tmp_path: Path) -> None:
    ran = called("--version", environment=BARE, folder=tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert re.fullmatch(r"bms-pipeline (\S+) \(Python 3\.\d+\.\d+, DuckDB \S+, Dagster \S+\)\n", ran.stdout)
    assert ran.stdout.split()[1] == version("bms_pipeline")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("bms-pipeline exp", ["explain", "export"]),
        ("bms-pipeline explain c", ["clients", "contacts"]),
        ("bms-pipeline auto-match us", ["users"]),
        ("bms-pipeline exclude clients --disposition un", ["unmatched"]),
        ("bms-pipeline sync --entity a", ["assets"]),
        ("bms-pipeline settings h", ["history"]),
    ],
)
def test_a_shell_completes_commands_and_our_words(tmp_path: Path, typed: str, offered: list[str]) -> None:
    assert sorted(completed(typed, tmp_path)) == offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell_names_the_program_however_it_was_started(tmp_path: Path, shell: str) -> None:
    environment = BARE | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    ran = subprocess.run(
        [sys.executable, "-m", "bms_pipeline.cli", "--show-completion", shell], env=environment, cwd=tmp_path,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "_BMS_PIPELINE_COMPLETE=complete_" + shell in ran.stdout
    assert "python" not in ran.stdout
