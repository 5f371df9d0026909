"""What version 0.5 called commands and options still works, with a note."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bms_pipeline.cli.former_names import COMMANDS, OPTIONS, translated
from bms_pipeline_tests.running import called

PRESENT = Path(__file__).parents[1].joinpath("command_line.txt").read_text(encoding="utf-8").split()


@pytest.mark.parametrize(("former", "present"), [*COMMANDS.items(), *OPTIONS.items()])
def test_a_former_name_leads_to_one_that_is_there_and_is_none_any_more(former: str, present: str) -> None:
    assert present in PRESENT
    assert former not in PRESENT


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["details", "--most", "3"], ["fetch-details", "--limit", "3"]),
        (["decisions", "--last=5", "--json"], ["decisions", "--limit=5", "--json"]),
        (["create", "clients", "7", "--beside", "--try"], ["create", "clients", "7", "--allow-duplicate", "--dry-run"]),
        (["sync", "--only-what-is-new"], ["sync", "--incremental"]),
        (["explain", "details", "7"], ["explain", "details", "7"]),
        (["exclude", "users", "7", "--why", "a --try"], ["exclude", "users", "7", "--why", "a --try"]),
        (["sandbox", "run", "--", "bms-pipeline", "--try"], ["sandbox", "run", "--", "bms-pipeline", "--try"]),
        ([], []),
    ],
)
def test_arguments_are_translated_up_to_another_command(given: list[str], meant: list[str]) -> None:
    notes: list[str] = []
    assert translated(given, notes.append) == meant
    assert len(notes) == sum(one != other for one, other in zip(given, meant, strict=True))


def test_a_command_run_by_its_former_name_says_its_name_and_does_it(tmp_path: Path) -> None:
    environment = {"BMS_PIPELINE_HOME": str(tmp_path / "home"), "HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    result = called("hand-overs", "--json", environment=environment, folder=tmp_path)
    assert "hand-overs is called pending-imports now" in result.stderr
    assert result.stdout.strip() == "[]"
