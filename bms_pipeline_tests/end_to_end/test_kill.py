"""SIGKILL anywhere in the job, then the same command again: the end is that of a run that nobody disturbed."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import pytest

from bms_pipeline.sync import whole_sync
from bms_pipeline_tests.running import Home, quick_and_soak
from bms_sandbox.process import Sandbox, running_sandbox

WRAPPER = ("-m", "bms_pipeline_tests.end_to_end.dying")
COMMAND = ("sync", "--create-unmatched")
POINTS = 10
QUICK = (10,)
"""After a part of the load committed; the quick suite's strikes are at all other moments."""


@dataclass(frozen=True)
class Undisturbed:
    """What a run without a kill ends in, and how many steps it has."""

    sandbox: Sandbox
    state: dict[str, Any]
    steps: int


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Undisturbed]:
    folder = tmp_path_factory.mktemp("kill")
    with running_sandbox("small", 3, folder / "tenant", {"hourly_limit": None}) as sandbox:
        home = Home(folder / "undisturbed", sandbox)
        steps_file = folder / "steps"
        result = home.run(*COMMAND, wrapper=WRAPPER, DIE_AT="0", STEPS_FILE=str(steps_file), **import_path())
        assert result.returncode == 0, result.stderr
        yield Undisturbed(sandbox, home.state(), int(steps_file.read_text()))


@pytest.mark.parametrize("point", quick_and_soak(QUICK, range(1, POINTS + 1)))
def test_a_killed_run_and_its_plain_rerun_end_as_if_nothing_happened(
    undisturbed: Undisturbed, tmp_path: Path, point: int
) -> None:
    step = undisturbed.steps * point // (POINTS + 1)
    home = Home(tmp_path / "home", undisturbed.sandbox)
    killed = home.run(*COMMAND, wrapper=WRAPPER, DIE_AT=str(step), **import_path())
    assert killed.returncode == -signal.SIGKILL, f"step {step} of {undisturbed.steps}: {killed.stderr}"
    again = home.call(*COMMAND)
    assert again.returncode == 0, f"step {step} of {undisturbed.steps}: {again.stderr}"
    assert home.state() == undisturbed.state
    assert home.warehouse("SELECT count(*) FROM sync.journal WHERE outcome IS NULL") == [(0,)]
    assert whole_sync.prepare(home.settings).operations == 0


class ImportPath(TypedDict):
    """The variable with which Python finds modules."""

    PYTHONPATH: str


def import_path() -> ImportPath:
    """The environment in which another process finds these tests."""
    return {"PYTHONPATH": str(Path(__file__).parents[2])}
