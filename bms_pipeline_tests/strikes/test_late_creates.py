"""A gateway takes a create, hangs up, and delivers it later: nothing is there twice, or somebody hears of it.

Moments are seconds after the call, by the pipeline's clock. The grace time is the default, 300 seconds.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from bms_pipeline import sync
from bms_pipeline.defs import ticks
from bms_pipeline.published import read_published
from bms_pipeline.reconcile import duplicates
from bms_pipeline.warehouse import sql
from bms_pipeline_tests.console.serving import Person, served
from bms_pipeline_tests.strikes.bench import Bench, Case
from bms_pipeline_tests.strikes.oracle import standing
from bms_pipeline_tests.strikes.scenarios import SCENARIOS, Undisturbed, undisturbed
from bms_pipeline_tests.strikes.services import Late

SCENARIO = SCENARIOS["finish-documents_api"]
TWICE = "SELECT type, marker FROM records WHERE marker IS NOT NULL GROUP BY ALL HAVING count(*) > 1"
GRACE = {"PASSPORTAL_UNKNOWN_SECONDS": "300"}


@pytest.fixture(scope="module")
def seen(bench: Bench) -> Undisturbed:
    """How it goes when every call arrives in time."""
    return undisturbed(bench, SCENARIO)


@dataclass
class Story:
    """A finish whose first create of locations, contacts or assets (``number``) is under way."""

    case: Case
    command: list[str]
    gateway: Late

    def run(self, at: float) -> int:
        """The same command again ``at`` that moment, without waiting; its exit code."""
        return self.case.run(*self.command, "--no-wait", ahead=at, **GRACE)

    def unknown(self) -> list[str]:
        """The entities of the writes that `status` shows as unknown."""
        return sorted({write["entity"] for write in self.status()["unknown"]})

    def status(self) -> dict[str, Any]:
        """What `status --json` says."""
        self.case.must("status", "--json")
        shown: dict[str, Any] = json.loads(self.case.last_output())
        return shown

    def duplicates(self) -> list[dict[str, Any]]:
        """What `duplicates --json` says."""
        self.case.must("duplicates", "--json")
        listed: list[dict[str, Any]] = json.loads(self.case.last_output())
        return listed


@pytest.fixture(params=[1, 2, 3])
def story(bench: Bench, request: pytest.FixtureRequest) -> Story:
    """The command has run once, and said that something is unknown."""
    case = SCENARIO.case(bench)
    gateway = bench.api.late(request.param)
    found = Story(case, SCENARIO.command(case), gateway)
    assert found.run(at=0) == 2, case.last_output()
    assert gateway.holds == 1
    return found


@pytest.mark.parametrize(("delivered", "runs_before", "runs_after"), [(30, (20,), (40,)), (240, (60, 200), (301,))])
def test_a_create_that_arrives_within_the_grace_time_is_there_once(
    story: Story, seen: Undisturbed, delivered: float, runs_before: tuple[float, ...], runs_after: tuple[float, ...]
) -> None:
    for moment in runs_before:
        assert moment < delivered
        assert story.run(moment) == 2, story.case.last_output()
        assert story.unknown()
    story.gateway.deliver()
    assert story.gateway.answers[0] == 200
    for moment in runs_after:
        assert story.run(moment) == 0, story.case.last_output()
    SCENARIO.afterwards(story.case)
    assert standing(story.case).differences(seen.end) == []


def test_a_create_that_never_arrives_is_sent_again_after_the_grace_time_and_not_before(
    story: Story, seen: Undisturbed
) -> None:
    assert story.run(290) == 2, story.case.last_output()
    assert story.run(310) == 0, story.case.last_output()
    SCENARIO.afterwards(story.case)
    assert standing(story.case).differences(seen.end) == []


def test_everything_else_is_loaded_while_one_create_is_unknown(bench: Bench, seen: Undisturbed) -> None:
    case = SCENARIO.case(bench)
    gateway = bench.api.late(1)
    story = Story(case, SCENARIO.command(case), gateway)
    assert story.run(at=0) == 2
    (content,) = case.passportal("SELECT count(*) FROM records")
    assert len(content) == 1
    late = case.warehouse("SELECT count(*) FROM sync.journal WHERE outcome IS NULL")[0][0]
    assert late > 0
    assert case.warehouse("SELECT count(*) FROM sync.journal WHERE outcome IS NOT NULL")[0][0] > late


def test_a_create_that_arrives_after_twenty_minutes_is_found_reported_everywhere_and_settled_by_one_command(
    story: Story, seen: Undisturbed
) -> None:
    case = story.case
    assert story.run(310) == 0, "it was looked for, not found, and sent again"
    case.import_files()
    story.gateway.deliver()
    assert case.run("sync", ahead=1300, **GRACE) == 0
    (twice,) = case.passportal(TWICE)
    assert twice

    # Reported: by status, in the list, by the check, on the console, in a notice.
    assert len(twice) == story.status()["duplicates"]
    listed = story.duplicates()
    assert {(row["entity"], str(row["bms_id"])) for row in listed} == {(f"{kind}s", marker) for kind, marker in twice}
    settings = case.settings()
    with sync.open_warehouse(settings).open() as connection:
        assert connection.execute(sql.read("check_duplicates").format(duplicates=duplicates.query())).fetchall()
    notice, _ = ticks.decisions_waiting(read_published(settings.published_file), ticks.Waiting({}, 0))
    assert "bms-pipeline duplicates" in notice
    with served(settings) as console:
        person = Person(console)
        assert 'href="/duplicates"' in person.get("/")
        assert listed[0]["passportal_id"] in person.get("/duplicates")

    # Settled: one command for each, and the finish of the plan that takes the marker off the other one.
    for entity, bms_id in dict.fromkeys((row["entity"], row["bms_id"]) for row in listed):
        (kept,) = [row for row in listed if (row["entity"], row["bms_id"]) == (entity, bms_id) and row["is_matched"]]
        case.must("keep", entity, str(bms_id), kept["passportal_id"])
    case.run("preview")
    case.must("finish", case.current_hash())
    assert case.passportal(TWICE) == [[]]
    assert case.run("preview") == 0
    assert story.status()["duplicates"] == 0
    linked = case.warehouse("SELECT entity, bms_id FROM sync.matches")
    assert {row[:2] for row in seen.end.matches} <= set(linked)
    assert len(linked) == len(set(linked))
