"""The whole pipeline with Passportal behind its Documents API: truth, kills, lost answers, a lost database."""

from __future__ import annotations

import contextlib
import itertools
import random
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bms_pipeline.core.errors import DecisionsMissing, ServiceError
from bms_pipeline.reports import figures
from bms_pipeline.sync import loading, recovery, whole_sync
from bms_pipeline.warehouse.connection import open_warehouse
from bms_pipeline_tests import lake
from bms_pipeline_tests.end_to_end.test_kill import COMMAND, WRAPPER, import_path
from bms_pipeline_tests.end_to_end.test_truth import compare_with_the_truth
from bms_pipeline_tests.running import Home, quick_and_soak, running_home
from bms_sandbox.process import Sandbox, running_passportal, running_sandbox

SWITCHES: dict[str, tuple[Any, ...]] = {
    "details_form": ("keys", "positions"),
    "bare_values": (False, True),
    "body": ("array", "object"),
    "values": ("text", "element"),
    "update": ("one", "batch"),
    "marker": ("notes", "id_fields", "custom_id"),
    "one_document": ("results", "flat"),
    "success_text": (False, True),
    "end_of_pages": ("empty", "null"),
    "expiry_text": (False, True),
    "encoded_names": (True, False),
    "refused_with_200": (False, True),
    "list_path": ("both", "all", "documents"),
    "batch_refusal": ("whole", "partial"),
    "page_cap": (1000, 7),
    "listed_after": (0, 2),
    "same_login_error": (False, True),
}
"""How the service may be, and where we bear the marker."""
TWICE = "SELECT type, marker FROM records WHERE marker IS NOT NULL GROUP BY ALL HAVING count(*) > 1"
UNKNOWN = "SELECT count(*) FROM sync.journal WHERE outcome IS NULL"


def pairwise() -> list[dict[str, Any]]:
    """Combinations in which every value of every switch meets every value of every other one."""
    chance = random.Random(1)
    left = {
        ((one, a), (two, b))
        for one, two in itertools.combinations(SWITCHES, 2)
        for a, b in itertools.product(SWITCHES[one], SWITCHES[two])
    }
    chosen: list[dict[str, Any]] = []
    while left:
        tried = [{name: chance.choice(values) for name, values in SWITCHES.items()} for _ in range(200)]
        pairs = [set(itertools.combinations(each.items(), 2)) for each in tried]
        best = max(range(len(tried)), key=lambda number: len(left & pairs[number]))
        if left & pairs[best]:
            chosen.append(tried[best])
            left -= pairs[best]
    return chosen


PAIRWISE = pairwise()


def split(switches: dict[str, Any]) -> dict[str, Any]:
    """Arguments of ``running_home`` for ``switches``: the service's own, and our setting for the marker."""
    service = {name: value for name, value in switches.items() if name != "marker"}
    marker = switches.get("marker", "notes")
    if marker == "custom_id":
        service["custom_id_writable"] = True
    return {"target": "documents_api", "passportal": service, "environment": {"PASSPORTAL_MARKER": marker}}


@pytest.mark.parametrize("number", quick_and_soak([1], range(len(PAIRWISE))))
def test_matches_are_the_truth_also_when_the_database_is_lost(tmp_path: Path, number: int) -> None:
    """Nothing is created twice, the second run plans nothing, and what is lost comes back by markers and names."""
    print(f"switches {PAIRWISE[number]}")
    with running_home(tmp_path, **split(PAIRWISE[number])) as home:
        compare_with_the_truth(home)
        assert home.passportal(TWICE) == []
        lose_the_database(home)


def lose_the_database(home: Home) -> None:
    """With nothing but Passportal left the same is matched, nothing is written, and the plan after that is empty."""
    links = "SELECT entity, bms_id, passportal_id FROM sync.matches ORDER BY ALL"
    matches, held = home.warehouse(links), home.state()["passportal"]
    home.settings.documents_file.unlink()
    if home.has_lake:  # PostgreSQL is lost, and with it what lay next to the warehouse
        home.environment |= lake.new_lake(home.folder.with_name("another_lake"))
    else:
        home.settings.warehouse_file.unlink()
    # Fields that the vendor's own integration fills too prove nothing.
    proved = home.settings.passportal_marker != "id_fields"
    with pytest.raises(DecisionsMissing, match="bms-pipeline rebuild") if proved else contextlib.nullcontext():
        whole_sync.prepare(home.settings)
    recovery.rebuild(home.settings)
    plan = whole_sync.prepare(home.settings)
    operations = home.warehouse("SELECT DISTINCT operation, len(changes) FROM sync.operations ORDER BY ALL")
    assert operations == [("adopt", 0), ("skip", None)]
    home.approve(plan.hash)
    loading.finish(home.settings)
    assert whole_sync.prepare(home.settings).operations == 0
    assert home.warehouse(links) == matches
    assert home.state()["passportal"] == held
    assert figures.status(home.settings, open_warehouse(home.settings)).hand_overs.waiting == 0


# Killed


@pytest.fixture(scope="module")
def bms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with running_sandbox("small", 3, tmp_path_factory.mktemp("bms"), {"hourly_limit": None}) as sandbox:
        yield sandbox


@pytest.fixture(scope="module", params=["call", "file"])
def undisturbed(
    bms: Sandbox, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> tuple[dict[str, Any], str, int]:
    """What runs without a kill end in, and how many steps of a kind the first of them has.

    How often the memory of documents commits depends on how its threads meet, so commits are not counted here.
    """
    folder = tmp_path_factory.mktemp("undisturbed")
    with running_passportal(folder / "passportal", bms.folder) as service:
        home = Home(folder / "home", bms, service=service)
        steps_file = folder / "steps"
        dying = partial(home.run, DIE_AT="0", DIE_OF=request.param, STEPS_FILE=str(steps_file))
        result = dying(*COMMAND, wrapper=WRAPPER, **import_path())
        assert result.returncode == 0, result.stderr
        finish_by_hand(home)
        return home.state(), request.param, int(steps_file.read_text())


def finish_by_hand(home: Home) -> None:
    """A person imports what was handed over, and the next sync goes on inside the new clients."""
    assert home.settle()
    again = home.call("sync")
    assert again.returncode == 0, again.stderr


@pytest.mark.soak
@pytest.mark.parametrize("point", range(1, 7))
def test_a_killed_run_and_its_plain_rerun_end_as_if_nothing_happened(
    bms: Sandbox, undisturbed: tuple[dict[str, Any], str, int], tmp_path: Path, point: int
) -> None:
    state, kind, steps = undisturbed
    step = steps * point // 7
    with running_passportal(tmp_path / "passportal", bms.folder) as service:
        home = Home(tmp_path / "home", bms, service=service)
        killed = home.run(*COMMAND, wrapper=WRAPPER, DIE_AT=str(step), DIE_OF=kind, **import_path())
        assert killed.returncode == -signal.SIGKILL, f"step {step} of {steps}: {killed.stderr}"
        again = home.call(*COMMAND)
        assert again.returncode == 0, f"step {step} of {steps}: {again.stderr}"
        finish_by_hand(home)
        assert home.state() == state
        assert home.warehouse(UNKNOWN) == [(0,)]
        assert home.passportal(TWICE) == []
        assert whole_sync.prepare(home.settings).operations == 0


# Answers that are lost


@pytest.mark.soak
@pytest.mark.parametrize(
    "switches",
    [
        {"lose_answers": 1.0},
        {"lose_answers": 1.0, "lost_shows": "502", "update": "batch", "values": "element"},
        {"lose_answers": 0.3, "lose_calls": 0.02, "batch_refusal": "partial"},
    ],
    ids=str,
)
def test_whatever_answers_are_lost_one_more_run_leaves_nothing_unknown_and_nothing_twice(
    tmp_path: Path, switches: dict[str, Any]
) -> None:
    with running_home(tmp_path, target="documents_api", passportal=switches) as home:
        plan = whole_sync.prepare(home.settings)
        assert plan.operations > 200
        home.approve(plan.hash)
        try:
            loading.finish(home.settings)
        except ServiceError as error:
            print(f"the first run ended with: {error}")
            assert home.service is not None
            home.service.behave(lose_calls=0)
            plan = whole_sync.prepare(home.settings)
            home.approve(plan.hash)
            loading.finish(home.settings)
        assert home.warehouse(UNKNOWN) == [(0,)]
        assert home.passportal(TWICE) == []
        assert whole_sync.prepare(home.settings).operations == 0


def test_authenticate_tests_both_services_and_shows_no_secret(tmp_path: Path) -> None:
    canary = "canary-s3cret-of-passportal"
    with running_home(tmp_path, target="documents_api") as home:
        right = home.call("authenticate")
        assert home.service is not None
        assert right.returncode == 0
        assert f"Passportal answers at {home.service.url}\nwith 14 clients\n" in right.stdout
        wrong = [
            (home.call("authenticate", PASSPORTAL_SECRET=canary), "PASSPORTAL_SECRET"),
            (home.call("authenticate", PASSPORTAL_KEY_ID="another"), "PASSPORTAL_KEY_ID"),
            (home.call("authenticate", PASSPORTAL_URL=home.sandbox.url), "PASSPORTAL_URL"),
            (home.call("authenticate", PASSPORTAL_EXPECTED_CLIENTS="No Such Client"), "No Such Client"),
            (home.call("sync", PASSPORTAL_SECRET=canary), "PASSPORTAL_SECRET"),
        ]
        home.service.behave(documentation_manager=False)
        wrong.append((home.call("authenticate"), "Documentation Manager"))
        for result, named in wrong:
            assert result.returncode == 1
            assert named in result.stderr
            assert "Next:" in result.stderr
            assert canary not in result.stdout + result.stderr
        files = [each for each in home.folder.rglob("*") if each.is_file()]
        assert files
        assert [each for each in files if canary.encode() in each.read_bytes()] == []
