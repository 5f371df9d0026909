"""The page of the runs: ticked stages while one works, and at its end what it did, why it failed, what goes on."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import psutil
import pytest

from bms_pipeline.console import run_progress
from bms_pipeline.console.context import Console
from bms_pipeline.core.errors import PlanError
from bms_pipeline.core.run_status import EndedStage, RunStatus
from bms_pipeline.reports.read_models import RunWrites
from bms_pipeline.sync import run_lock
from bms_pipeline_tests.building import World
from bms_pipeline_tests.console.serving import Person

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)


def live(person: Person) -> str:
    """What the page says about the active or last run."""
    person.get("/runs")
    return person.text.partition("The last runs")[0]


def test_stages_are_ticked_with_their_counts_and_the_active_one_has_its_name_in_small_print(
    alex: Person, world: World
) -> None:
    with run_lock.running(world.settings, "bms-pipeline sync") as progress:
        progress("sign in to BMS", 0, None)
        progress("extract accounts", 0, None)
        progress("extract accounts", 527, 527)
        progress("load assets", 18_400, 50_000)
        shown = live(alex)
    assert re.search(r"✓ Signed in to BMS \d\.\d s ✓ Read accounts from BMS 527 \d\.\d s", shown)
    assert "→ Loading assets into Passportal 18,400 of 50,000" in shown
    assert "load assets bms-pipeline sync , process" in shown
    assert "Sync now" not in shown


def test_the_active_stage_says_how_fast_it_is_and_how_long_it_still_takes() -> None:
    run = RunStatus(
        "bms-pipeline sync", 1, NOW.isoformat(), stage="load assets", done=18_400, total=50_000,
        stage_started_at=(NOW - timedelta(seconds=40)).isoformat(),
    )  # fmt: skip
    stage = run_progress.active_stage(run, NOW)
    assert stage is not None
    assert stage.left == "460 a second, about 1 min 9 s left"
    run.total = None
    slow = run_progress.active_stage(run, NOW + timedelta(days=1))
    assert slow is not None
    assert slow.left == "13 a minute"
    run.stage_started_at = NOW.isoformat()
    just_begun = run_progress.active_stage(run, NOW)
    assert just_begun is not None
    assert just_begun.left == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (28, "28 s"), (59.7, "1 min 0 s"), (88, "1 min 28 s"), (7500, "2 h 5 min")],
)
def test_a_length_of_time_is_said_as_people_say_it(seconds: float, text: str) -> None:
    assert run_progress.duration(seconds) == text


def test_every_stage_has_words_and_an_unknown_one_its_own() -> None:
    ended = [EndedStage(name, 0, None, 0.1) for name in ("snapshot users", "settle: snapshot users", "a new stage")]
    run = RunStatus("x", 1, NOW.isoformat(), stage="plan", ended_at=NOW.isoformat(), ended_stages=ended)
    assert [stage.text for stage in run_progress.ended_stages(run)] == [
        "Read users from Passportal", "Looked up open writes: snapshot users", "a new stage", "Made the plan",
    ]  # fmt: skip


def test_a_run_that_loaded_says_what_it_did_what_waits_and_leads_on(alex: Person, world: World) -> None:
    with run_lock.running(world.settings, "bms-pipeline finish") as progress:
        progress("load clients", 0, None)
        world.finish()
    shown = live(alex)
    assert re.search(r"Done in [\d.]+ s: 1 created, 2 matched, 0 refused\.", shown)
    assert re.search(r"2 users\s+and\s+3 clients\s+still need a decision\.", shown)
    assert "Next: User Sync" in shown
    assert "/review/users" in alex.get("/runs")
    assert re.search(
        r"bms-pipeline finish \S.*Succeeded \d created, \d matched", alex.text.partition("The last runs")[2]
    )


def test_a_run_that_failed_is_never_done_and_says_why_and_what_next(alex: Person, world: World) -> None:
    with suppress(PlanError), run_lock.running(world.settings, "bms-pipeline finish") as progress:
        progress("load clients", 3, 10)
        raise PlanError("The plan is stale.", "Look at the new one.")
    shown = live(alex)
    assert "bms-pipeline finish did not succeed. The plan is stale. Look at the new one." in shown
    assert "Stopped: Loading clients into Passportal 3 of 10" in shown
    assert "Done" not in shown


KILLED = """
import sys
from bms_pipeline.core.run_status import RunName
from bms_pipeline.state.recording import RunStatusWriter
from bms_pipeline.core.settings import read_settings
from bms_pipeline.state.opening import open_state
RunStatusWriter(open_state(read_settings()), RunName("bms-pipeline finish"))("load clients", 3, 10)
"""


def test_a_run_that_was_killed_is_never_done_and_says_what_goes_on_by_itself(alex: Person, world: World) -> None:
    environment = {**os.environ, "BMS_PIPELINE_HOME": str(world.settings.bms_pipeline_home)}
    subprocess.run([sys.executable, "-c", KILLED], env=environment, check=True, timeout=60)
    shown = live(alex)
    assert "bms-pipeline finish was stopped in the middle." in shown
    assert "What was done is kept, and nothing is sent twice." in shown
    assert "The next sync looks up what was under way and goes on with the" in shown
    assert "Done" not in shown


@pytest.mark.parametrize(
    ("writes", "left", "sentence"),
    [
        (RunWrites(41707, 24962, 0, 0, 0, 0), 0, "Done in 1 min 28 s: 41,707 created, 24,962 matched, 0 refused."),
        (RunWrites(0, 0, 5, 2, 0, 0), 0, "Done in 1 min 28 s: 0 created, 0 matched, 5 updated, 2 refused."),
        (RunWrites(0, 0, 0, 0, 0, 0), 0, "Done in 1 min 28 s: nothing was written to Passportal."),
        (
            RunWrites(0, 0, 0, 0, 3, 0),
            0,
            "Done in 1 min 28 s: 0 created, 0 matched, 3 handed over for an import, 0 refused.",
        ),
    ],
)
def test_the_end_is_one_sentence(writes: RunWrites, left: int, sentence: str) -> None:
    assert run_progress.end_sentence(88, writes, left) == sentence


@pytest.mark.parametrize(("unknown", "left"), [(7, 0), (7, 12), (0, 12)])
def test_what_is_not_done_is_not_called_done(unknown: int, left: int) -> None:
    sentence = run_progress.end_sentence(88, RunWrites(1, 0, 0, 0, 0, unknown), left)
    assert sentence.startswith("Ended after 1 min 28 s, and not all is done: 1 created, 0 matched, 0 refused")
    assert "Done" not in sentence
    assert "the next sync" in sentence


def test_a_page_wanted_by_a_form_is_where_next_leads_by_its_name(console: Console) -> None:
    console.reading.refresh(at_once=True)
    assert run_progress.next_page(console, "/review/clients").name == "Client Sync"
    assert run_progress.next_page(console, "/") == run_progress.NextPage("/review/users", "User Sync")


def test_the_process_named_in_small_print_is_the_one_at_work(alex: Person, world: World) -> None:
    with run_lock.running(world.settings, "bms-pipeline sync") as progress:
        progress("plan", 0, None)
        assert f"process {psutil.Process().pid}" in live(alex)
