"""A home folder where nothing was read yet: every command says so and what to run; none shows an empty table."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from bms_pipeline_tests.running import called

ADDRESS = {"BMS_URL": "https://bms.example"}
CONNECTED = ADDRESS | {"BMS_TENANT": "x", "BMS_USERNAME": "x", "BMS_PASSWORD": "x"}
LISTS = (
    "status", "decisions", "orphans", "pending-imports", "duplicates", "backups", "undo", "suggest clients",
    "export clients decide.csv", "auto-match", "create-unmatched", "fetch-details",
)  # fmt: skip
ABOUT_RECORDS = (
    "explain clients 1", "match clients 1 2", "unmatch clients 1", "create assets 1", "exclude users 1",
    "include clients", "exclude clients --reason inactive",
)  # fmt: skip
ABOUT_PLANS = ("preview --saved", "finish 0123456789ab", "approve 0123456789ab")
AS_JSON = ("status", "decisions", "orphans", "pending-imports", "duplicates", "backups", "undo", "suggest clients")


def run(folder: Path, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return called(*arguments, environment={**environment, "BMS_PIPELINE_HOME": str(folder / "home")}, folder=folder)


def words(text: str) -> str:
    """Without the line ends of the terminal."""
    return " ".join(text.split())


@pytest.mark.parametrize("command", LISTS)
def test_an_empty_list_is_one_sentence_and_the_way_to_begin(tmp_path: Path, command: str) -> None:
    ran = run(tmp_path, CONNECTED, *command.split())
    assert ran.returncode == 0, ran.stderr
    assert "Begin with bms-pipeline preview" in words(ran.stdout)
    assert len(ran.stdout.splitlines()) <= 3
    assert not set("┃│━") & set(ran.stdout)


@pytest.mark.parametrize("command", LISTS)
def test_where_nothing_is_connected_the_missing_settings_are_named(tmp_path: Path, command: str) -> None:
    ran = run(tmp_path, ADDRESS, *command.split())
    assert ran.returncode == 0, ran.stderr
    shown = words(ran.stdout)
    assert "Nothing is connected yet: BMS_TENANT, BMS_USERNAME, BMS_PASSWORD are not set." in shown
    assert "bms-pipeline console" in shown
    assert "bms-pipeline sandbox run" in shown


@pytest.mark.parametrize("command", [*ABOUT_RECORDS, *ABOUT_PLANS])
def test_what_is_about_a_record_or_a_plan_leads_to_the_preview(tmp_path: Path, command: str) -> None:
    ran = run(tmp_path, CONNECTED, *command.split())
    assert ran.returncode == 1
    *_, error, following = ran.stderr.splitlines()
    assert "so far" in error or "no plan yet" in error, error
    assert "`bms-pipeline preview`" in following
    assert not ran.stdout


@pytest.mark.parametrize("command", AS_JSON)
def test_json_keeps_its_form(tmp_path: Path, command: str) -> None:
    ran = run(tmp_path, CONNECTED, *command.split(), "--json")
    assert ran.returncode == 0
    shown = json.loads(ran.stdout)
    if command == "status":
        assert shown["plan"] is None
        assert shown["initial_sync_finished"] is False
        assert {counts["read"] for counts in shown["entities"].values()} == {0}
    else:
        assert not shown


def test_no_settings_history_is_one_sentence(tmp_path: Path) -> None:
    ran = run(tmp_path, CONNECTED, "settings", "history")
    assert words(ran.stdout).startswith("No setting was changed so far.")
