"""`--log-json`: a program that collects logs finds one JSON object a line on standard error, and no secret in any."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bms_pipeline.cli import json_log
from bms_pipeline_tests.cli.terminal import on_terminal
from bms_pipeline_tests.running import Home, running_home

PASSWORD, MFA_SEED = "canary-password-91c4e7", "CANARYMFASEEDAAAA"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with running_home(tmp_path_factory.mktemp("json_log")) as found:
        yield found


def objects(text: str) -> list[dict[str, Any]]:
    """Every line as an object; each has its time, level and message."""
    found = [json.loads(line) for line in text.splitlines()]
    for line in found:
        moment = datetime.fromisoformat(line["time"])
        assert moment.tzinfo == UTC
        assert line["level"] in ("debug", "info", "warning", "error", "critical")
        assert line["message"]
    return found


def stages(result: subprocess.CompletedProcess[str]) -> list[str]:
    return [line["stage"] for line in objects(result.stderr) if "stage" in line]


def test_each_stage_is_an_object_with_its_count_and_seconds(home: Home) -> None:
    text = home.call("preview", "--json")
    result = home.call("--log-json", "preview", "--json")
    assert result.returncode == text.returncode == 2
    assert json.loads(result.stdout)["operations"] == json.loads(text.stdout)["operations"]
    of_text = [line.partition(":")[0] for line in text.stderr.splitlines()]
    assert stages(result) == [stage for stage in of_text if stage in stages(result)]
    assert len(stages(result)) > 5
    for line in (line for line in objects(result.stderr) if "stage" in line):
        assert line["failed"] is False
        assert line["seconds"] >= 0
        assert isinstance(line["done"], int)


def test_a_failure_is_an_object_with_its_kind_and_next_step(home: Home) -> None:
    home.sandbox.behave(faults=[{"route": "employees", "kind": "html"}])
    result = home.call("--log-json", "sync", "--full")
    home.sandbox.behave(faults=[])
    *before, last = objects(result.stderr)
    assert result.returncode == 1
    assert (last["level"], last["error"]) == ("error", "AnswerUnreadable")
    assert last["next_step"]
    (stopped,) = (line for line in before if line.get("failed"))
    assert stopped["level"] == "error"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--log-json", "finish", "0123456789ab"),
        ("finish", "--log-json", "0123456789ab"),
        ("finish", "0123456789ab", "--log-json"),
    ],
)
def test_the_option_may_stand_anywhere(home: Home, arguments: tuple[str, ...]) -> None:
    stopped, line = objects(home.call(*arguments).stderr)
    assert (stopped["stage"], stopped["failed"]) == ("approve", True)
    assert line["error"] == "PlanNotCurrent"


def test_what_stands_behind_two_dashes_belongs_to_another_command() -> None:
    assert json_log.without_option(["sandbox", "run", "--", "x", "--log-json"]) == [
        "sandbox", "run", "--", "x", "--log-json",
    ]  # fmt: skip
    assert json_log.without_option(["--log-json", "a", "--", "--log-json"]) == ["a", "--", "--log-json"]


def test_a_mistyped_command_and_a_warning_are_objects_too(home: Home) -> None:
    (line,) = objects(home.call("--log-json", "snyc").stderr)
    assert line["level"] == "error"
    assert "--help" in line["next_step"]
    warned = home.run("--log-json", "status", BMS_TENNANT="acme")
    (line,) = objects(warned.stderr)
    assert (line["level"], line["logger"]) == ("warning", "bms_pipeline.core.settings")
    assert "BMS_TENNANT" in line["message"]


def test_a_defect_is_one_object_with_its_traceback(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bms_pipeline.cli.app.read_settings", lambda: 1 / 0)
    result = home.call("--log-json", "status")
    assert result.returncode == 1
    (line,) = objects(result.stderr)
    assert (line["level"], line["message"]) == ("critical", "ZeroDivisionError")
    assert "division by zero" in line["traceback"]


def test_no_secret_is_in_any_line(home: Home) -> None:
    outputs = [
        home.call("--log-json", "authenticate"),
        home.call("--log-json", "sync", "--create-unmatched"),
        home.call("--log-json", "authenticate", BMS_PASSWORD=PASSWORD, BMS_MFA_SECRET=MFA_SEED),
        home.run("--log-json", "sync", BMS_PASSWORD=PASSWORD, BMS_MFA_SECRET=MFA_SEED),
    ]
    home.sandbox.behave(faults=[{"route": "authenticate", "kind": "status", "status": 500}])
    outputs.append(home.call("--log-json", "authenticate", BMS_PASSWORD=PASSWORD))
    home.sandbox.behave(faults=[])
    assert [output.returncode == 0 for output in outputs] == [True, True, False, False, False]
    for output in outputs:
        assert objects(output.stderr) or output.args == ("--log-json", "authenticate")
        for secret in (home.environment["BMS_PASSWORD"], PASSWORD, MFA_SEED):
            assert secret not in output.stderr + output.stdout


def test_on_a_terminal_and_with_forced_colours_there_is_no_colour_and_no_moving_line(home: Home) -> None:
    shown = on_terminal(["--log-json", "sync", "--full"], {**home.environment, "FORCE_COLOR": "1"}, home.folder)
    lines = [line for line in shown.written.splitlines() if line.startswith("{")]
    assert len(objects("\n".join(lines))) > 5
    assert [line for line in lines if "\\u001b" in line or "\x1b" in line] == []


def test_it_may_be_dropped_after_its_stream_was_closed(tmp_path: Path) -> None:
    """Python 3.13 reports an error in that moment on standard error, as text."""
    with (tmp_path / "stderr").open("w") as stream:
        lines = json_log.JsonLines(stream)
    lines.close()
    assert lines.closed


def test_without_the_option_nothing_changes_afterwards(home: Home) -> None:
    home.call("--log-json", "finish", "0123456789ab")
    result = home.call("finish", "0123456789ab")
    assert "\nError: " in result.stderr
    assert "\nNext:  " in result.stderr


@given(st.lists(st.text(max_size=30), max_size=5))
def test_any_text_comes_out_line_by_line_as_json(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    file: Path = tmp_path_factory.getbasetemp() / "stderr"
    with file.open("w", encoding="ascii") as stream:
        lines = json_log.JsonLines(stream)
        for text in texts:
            lines.write(text)
        lines.finish()
    found = file.read_text().split("\n")
    assert found.pop() == ""
    written = [line for line in "".join(texts).split("\n") if line.strip()]
    assert len(found) <= len(written)
    assert all(json.loads(line)["message"].strip() for line in found)
