"""Progress: on a terminal one live line below a ticked line for each ended stage; elsewhere a plain log."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bms_pipeline_tests.cli.terminal import Shown, on_terminal
from bms_pipeline_tests.running import Home, running_home

REPORTS = """
import sys
from bms_pipeline.cli import output
output.open_output()
with output.progress() as stages:
    stages("sign in", 0, None)
    stages("extract accounts", 0, None)
    stages("extract accounts", 1200, 2800)
    stages("extract accounts", 2800, 2800)
    stages("load clients", 40, 90)
    {end}
"""
STOPS = "raise SystemExit(1)"
GOES_ON = "stages('load [red]clients\\x1b[2J', 0, None)"


def shown(end: str) -> Shown:
    return on_terminal((), os.environ, Path.cwd(), program=REPORTS.format(end=end))


def logged(end: str, encoding: str = "utf-8") -> list[str]:
    ran = subprocess.run(
        [sys.executable, "-c", REPORTS.format(end=end)],
        env={**os.environ, "PYTHONIOENCODING": encoding}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.stdout == ""
    return [re.sub(r"\d+\.\d s", "N s", line) for line in ran.stderr.splitlines()]


def test_an_ended_stage_stays_as_a_ticked_line_with_its_count_and_seconds() -> None:
    lines = [line for line in shown(GOES_ON).screen if line]
    assert [line.split()[0] for line in lines] == ["✓", "✓", "·", "✓"], "a stage left in its middle is not ticked"
    assert re.fullmatch(r"✓ sign in +\d+\.\d s", lines[0])
    assert re.fullmatch(r"✓ extract accounts +2,800 +\d+\.\d s", lines[1])
    assert re.fullmatch(r"· load clients +40 of 90 +\d+\.\d s", lines[2])
    assert "load [red]clients\N{REPLACEMENT CHARACTER}[2J" in lines[3]


def test_the_stage_that_failed_is_marked_and_nothing_goes_on_spinning() -> None:
    lines = [line for line in shown(STOPS).screen if line]
    assert re.fullmatch(r"✗ load clients +40 of 90 +\d+\.\d s", lines[-1])
    assert len(lines) == 3


def test_a_log_has_one_plain_line_for_each_ended_stage() -> None:
    assert logged(GOES_ON)[:3] == ["sign in: N s", "extract accounts: 2,800, N s", "load clients: 40 of 90, N s"]
    assert logged(STOPS)[-1] == "load clients: stopped, 40 of 90, N s"
    assert logged(STOPS, "ascii") == logged(STOPS)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with running_home(tmp_path_factory.mktemp("stages")) as home:
        yield home


def test_a_preview_ticks_every_stage_once(home: Home) -> None:
    ran = on_terminal(("preview",), home.environment, home.folder)
    ticked = [line[2:].rstrip() for line in ran.screen if line.startswith("✓")]
    stages = [re.split(r" {2,}", line)[0] for line in ticked]
    assert ran.code == 2
    assert stages == [
        "sign in to BMS",
        *(f"{verb} {name}" for name in ("accounts", "employees", "contacts", "assets") for verb in ("extract", "land")),
        *(f"snapshot {name}" for name in ("clients", "users", "locations", "contacts", "assets")),
        *(f"reconcile {name}" for name in ("clients", "users", "locations", "contacts", "assets")),
        "plan",
    ]
    assert not any(character in line for line in ran.screen for character in "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")
    counted = {stage: line.split()[-3] for stage, line in zip(stages[1:], ticked[1:], strict=True)}
    read = home.status()["entities"]
    assert counted["extract accounts"] == counted["reconcile clients"] == str(read["clients"]["read"])
    assert counted["snapshot assets"] == str(home.passportal("SELECT count(*) FROM records WHERE type = 'asset'")[0][0])
