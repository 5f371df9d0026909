"""A gateway takes a create, hangs up, and delivers it later: nothing is there twice, or somebody hears of it.

Moments are seconds after the call, by the pipeline's clock. The grace time is the default, 300 seconds.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from bms_pipeline.defs import ticks
from bms_pipeline.reconcile import duplicates
from bms_pipeline.state.opening import open_state
from bms_pipeline.sync.state_file import read_state
from bms_pipeline.warehouse import sql
from bms_pipeline.warehouse.connection import open_warehouse
from bms_pipeline_tests.console.serving import Person, served
from bms_pipeline_tests.running import quick_and_soak
from bms_pipeline_tests.strikes.bench import Bench, Case
from bms_pipeline_tests.strikes.oracle import standing
from bms_pipeline_tests.strikes.scenarios import SCENARIOS, Undisturbed
from bms_pipeline_tests.strikes.services import Late

SCENARIO = SCENARIOS["finish-documents_api"]
TWICE = "SELECT type, marker FROM records WHERE marker IS NOT NULL GROUP BY ALL HAVING count(*) > 1"
GRACE = "300"


CREATES = {"locations": 1, "contacts": 2, "assets": 3}
"""Which `POST` of the finish is the first create of an entity."""


@pytest.fixture(scope="module")
def in_time(seen: Callable[[str], Undisturbed]) -> Undisturbed:
    """How it goes when every call arrives in time."""
    return seen(str(SCENARIO))


def late(quick: str) -> pytest.MarkDecorator:
    """Parametrise ``story``: the first create of ``quick`` in the quick suite, that of each entity in a soak."""
    return pytest.mark.parametrize("story", quick_and_soak([quick], CREATES), indirect=True)


@dataclass
class Story:
    """A finish whose first create of an entity is under way since it ``began``."""

    case: Case
    command: list[str]
    gateway: Late
    began: float = field(default_factory=time.time)

    def run(self, at: float) -> int:
        """The same command again ``at`` that moment, without waiting; its exit code."""
        ahead = max(0, self.began + at - time.time())
        return self.case.run(*self.command, "--no-wait", ahead=ahead, PASSPORTAL_UNKNOWN_SECONDS=GRACE)

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


@pytest.fixture
def story(bench: Bench, request: pytest.FixtureRequest) -> Story:
    """The command has run once, and said that something is unknown."""
    case = SCENARIO.case(bench)
    gateway = bench.api.late(CREATES[request.param])
    found = Story(case, SCENARIO.command(case), gateway)
    assert found.run(at=0) == 2, case.last_output()
    assert gateway.holds == 1
    return found


def arrives_in_time(
    story: Story, in_time: Undisturbed, delivered: float, before: Sequence[float], after: float
) -> None:
    """Deliver it at that moment, with runs ``before`` and ``after``: it is there once."""
    for moment in before:
        assert moment < delivered
        assert story.run(moment) == 2, story.case.last_output()
        assert story.unknown()
    story.gateway.deliver()
    assert story.gateway.answers[0] == 200
    assert story.run(after) == 0, story.case.last_output()
    SCENARIO.afterwards(story.case)
    assert standing(story.case).differences(in_time.end) == []


@late("locations")
def test_a_create_that_arrives_within_half_a_minute_is_there_once(story: Story, in_time: Undisturbed) -> None:
    arrives_in_time(story, in_time, 30, before=[20], after=40)


@late("assets")
def test_a_create_that_arrives_late_within_the_grace_time_is_there_once(story: Story, in_time: Undisturbed) -> None:
    arrives_in_time(story, in_time, 240, before=[60, 200], after=301)


@late("contacts")
def test_all_else_is_loaded_and_a_create_that_never_arrives_is_sent_again_after_the_grace_time_and_not_before(
    story: Story, in_time: Undisturbed
) -> None:
    open_calls = "SELECT count(*) FILTER (outcome IS NULL), count(*) FILTER (outcome IS NOT NULL) FROM sync.journal"
    ((unknown, loaded),) = story.case.warehouse(open_calls)
    assert loaded > unknown > 0
    assert story.run(240) == 2, story.case.last_output()
    assert story.run(310) == 0, story.case.last_output()
    SCENARIO.afterwards(story.case)
    assert standing(story.case).differences(in_time.end) == []


@late("assets")
def test_a_create_that_arrives_after_twenty_minutes_is_found_reported_everywhere_and_settled_by_one_command(
    story: Story, in_time: Undisturbed
) -> None:
    case = story.case
    assert story.run(310) == 0, "it was looked for, not found, and sent again"
    case.import_files()
    story.gateway.deliver()
    assert case.run("sync", ahead=1300, PASSPORTAL_UNKNOWN_SECONDS=GRACE) == 0
    (twice,) = case.passportal(TWICE)
    assert twice

    # Reported: by status, in the list, by the check, on the console, in a notice.
    assert len(twice) == story.status()["duplicates"]
    listed = story.duplicates()
    assert {(row["entity"], str(row["bms_id"])) for row in listed} == {(f"{kind}s", marker) for kind, marker in twice}
    settings = case.settings()
    with open_warehouse(settings).open() as connection:
        assert connection.execute(sql.read("defs/check_duplicates").format(duplicates=duplicates.query())).fetchall()
    growth = ticks.decisions_waiting(read_state(open_state(settings)), ticks.Waiting({}, 0))
    assert "bms-pipeline duplicates" in growth.text
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
    assert {row[:2] for row in in_time.end.matches} <= set(linked)
    assert len(linked) == len(set(linked))
