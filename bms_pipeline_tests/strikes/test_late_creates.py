"""A gateway takes a create, drops the connection, and delivers it later: nothing is there twice, or somebody hears of it.

Moments are seconds after the call, by the pipeline's clock. The grace time is the default, 300 seconds.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from bms_pipeline_tests.strikes.bench import Bench, Case
from bms_pipeline_tests.strikes.oracle import standing
from bms_pipeline_tests.strikes.scenarios import SCENARIOS, Undisturbed, undisturbed
from bms_pipeline_tests.strikes.services import Late

SCENARIO = SCENARIOS["finish-documents_api"]
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

    def status(self) -> dict[str, list[dict[str, str]]]:
        """What `status --json` says."""
        self.case.run("status", "--json")
        shown: dict[str, list[dict[str, str]]] = json.loads(self.case.last_output())
        return shown


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
