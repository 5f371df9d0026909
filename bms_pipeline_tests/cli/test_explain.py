"""`bms-pipeline explain` tells a record's story in words that fit 80 columns; `--json` keeps every code."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bms_pipeline.core.reasons import Reason
from bms_pipeline_tests.building import World, account, contact, in_passportal, opened_world
from bms_pipeline_tests.cli.terminal import on_terminal

HOSTILE = "[red]Ann\x1b[2J Lee[/]"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A loaded client with contacts, one of them with a hostile name; a client about which nobody decided."""
    with opened_world(tmp_path_factory.mktemp("explained") / "home") as found:
        found.accounts = [account(10, "Acme Ltd"), account(11, "Borealis, a client with a name longer than most")]
        found.contacts = [
            contact(100, 10, "Ann", "Lee", "ann@acme.example"),
            contact(101, 10, HOSTILE, "x" * 25),
            contact(102, 11, "Cy", "Fox"),
        ]
        found.passportal_holds(clients=[in_passportal("P1", "ACME LTD")])
        found.plan()
        found.finish()
        found.let_go_of_the_warehouse()
        yield found


def explained(world: World, *record: str) -> str:
    """What the terminal shows, 80 columns wide."""
    environment = {**os.environ, "BMS_PIPELINE_HOME": str(world.settings.bms_pipeline_home)}
    ran = on_terminal(("explain", *record), environment, Path.cwd())
    assert ran.code == 0
    return "\n".join(line.rstrip() for line in ran.screen)


@pytest.mark.parametrize("record", [("clients", "10"), ("contacts", "100"), ("contacts", "101"), ("contacts", "102")])
def test_a_story_has_no_codes_and_no_python_and_fits_the_terminal(world: World, record: tuple[str, str]) -> None:
    text = explained(world, *record)
    assert not re.search(r"None|True|False|\[\{|datetime|\.\d{6}", text)
    assert not [code for code in Reason if "_" in code and code in text]
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "\x1b[2J" not in text


def test_a_story_begins_with_name_sentence_client_and_next_step(world: World) -> None:
    lines = explained(world, "contacts", "102").splitlines()
    assert lines[0] == "Cy Fox, contact 102"
    assert " ".join(lines[1:]).startswith(
        "Waits for its client Borealis, a client with a name longer than most, about which nobody decided yet."
    )
    text = " ".join(lines)
    assert "(clients 11)" in text
    assert "Next: decide about it: `bms-pipeline suggest clients 11`" in text


def test_a_story_has_a_time_line_and_both_sides(world: World) -> None:
    text = explained(world, "clients", "10")
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d  Plan 1 linked it to its record in Passportal", text)
    assert re.search(r"│ Name\s+│ Acme Ltd\s+│ ACME LTD\s+│ differs", text)
    assert "Same name in Passportal" not in text, "that is its own record"
    assert "--json" in text


def test_json_has_every_code(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    from bms_pipeline.cli.output import print_json
    from bms_pipeline.reports import figures

    print_json(figures.explain(world.warehouse, "clients", 10))
    story = json.loads(capfd.readouterr().out)
    assert story["match"]["reason"] == "identical_name"
    assert story["decided"]["disposition"] == "matched"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("explain", "foo", "1"), "There is no entity 'foo'"),
        (("exclude", "clients", str(2**63)), "is no id of BMS, a number"),
        (("match", "clients", "9" * 23, "P1"), "is no id of BMS, a number"),
        (("suggest", "clients", str(2**64)), "is no id of BMS, a number"),
        (("explain", "clients", str(2**63)), "is no id of BMS, a number"),
        (("match", "clients", "Müller", "P1"), "`bms-pipeline suggest ENTITY` shows ids and names"),
    ],
)
def test_what_no_record_can_be_called_is_named_and_no_defect(
    world: World, arguments: tuple[str, ...], words: str
) -> None:
    environment = {**os.environ, "BMS_PIPELINE_HOME": str(world.settings.bms_pipeline_home), "NO_COLOR": "1"}
    ran = subprocess.run(
        [sys.executable, "-m", "bms_pipeline.cli", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    said = " ".join(ran.stderr.replace("│", " ").split())
    assert ran.returncode in (1, 2)
    assert words in said, said
    assert "Traceback" not in said
