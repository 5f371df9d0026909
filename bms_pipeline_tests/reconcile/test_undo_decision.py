"""Undo of one decision: whatever was decided before it, and whatever it was, all stands again as it stood."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from bms_pipeline.core.entities import BY_NAME
from bms_pipeline.core.errors import DecisionError
from bms_pipeline.reconcile.decisions import VERBS, VERSION, Selection, ViewedVersion
from bms_pipeline.reconcile.suggestions import Doubt, Evidence, Likelihood, Suggestion, best_candidates
from bms_pipeline.sync import deciding
from bms_pipeline_tests.building import World, account, in_passportal, opened_world
from bms_pipeline_tests.exploring import examples

CLIENTS = BY_NAME["clients"]
TABLES = ("matches", "exclusions", "approved_creates", "non_matches")
a_decision = st.tuples(st.sampled_from(VERBS), st.integers(1, 5), st.sampled_from(("P1", "P2", "P3")))


def state(world: World) -> list[Any]:
    """Every lasting row, and how each record stands."""
    rows = [world.query(f"FROM sync.{table} ORDER BY ALL") for table in TABLES]
    return [*rows, world.query("FROM sync.base_clients ORDER BY ALL"), world.decisions("clients")]


def decide(world: World, verb: str, bms_id: int, partner: str) -> deciding.Taken:
    """A person's decision about the record as it stands now."""
    (stamp,) = world.query(f"SELECT {VERSION} FROM sync.reconciled_clients r WHERE bms_id = ?", bms_id)[0]
    verdict = deciding.BulkDecision(verb, partner if verb == "match" else None, allow_duplicate=verb == "create")
    return deciding.decide_seen(
        world.warehouse, CLIENTS, Selection(bms_ids=(bms_id,)), verdict, ViewedVersion(1, stamp, 0), "Robin"
    )


@pytest.mark.explores
@examples(8, 200, deadline=None)
@given(history=st.lists(a_decision, min_size=1, max_size=6), is_loaded=st.booleans())
def test_undo_restores_exactly_the_state_before_the_decision(
    history: list[tuple[str, int, str]], is_loaded: bool
) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        opened_world(Path(folder) / "home", entities=(CLIENTS,)) as world,
    ):
        world.accounts = [account(n, name) for n, name in enumerate(("Acme", "Acme Ltd", "Beta", "Beta", "Solo"), 1)]
        world.passportal_holds(
            clients=[in_passportal(f"P{n}", name) for n, name in enumerate(("Acme", "Beta", "Odd"), 1)]
        )
        world.plan()
        if is_loaded:
            world.finish()
            world.plan()
        for verb, bms_id, partner in history:
            before = state(world)
            try:
                taken = decide(world, verb, bms_id, partner)
            except DecisionError:
                assert state(world)[:-1] == before[:-1]
                continue
            if taken.undo is None:
                continue
            after = state(world)
            deciding.undo_decision(world.warehouse, taken.undo, "Robin")
            assert state(world) == before
            decide(world, verb, bms_id, partner)  # the history goes on
            assert state(world)[-1] == after[-1]


def suggestion(bms_id: int, passportal_id: str, score: float, **agreements: Any) -> Suggestion:
    """A suggestion with evidence: field → agreement."""
    evidence = tuple(Evidence(field, agreement, "a", "b") for field, agreement in agreements.items())
    return Suggestion(bms_id, 1, passportal_id, "name", score, evidence)


def test_a_candidate_is_undoubted_only_where_nothing_else_comes_near() -> None:
    best = best_candidates(
        {
            1: [suggestion(1, "P1", 0.97), suggestion(1, "P2", 0.5)],
            2: [suggestion(2, "P3", 0.97), suggestion(2, "P4", 0.96)],
            3: [suggestion(3, "P5", 0.97)],
            4: [suggestion(4, "P5", 0.96)],
            5: [suggestion(5, "P6", 0.9)],
            6: [],
        },
        separated={(5, "P6")},
    )
    assert {bms_id: (found.doubt, found.rivals) for bms_id, found in best.items()} == {
        1: (None, ()),
        2: (Doubt.SEVERAL, ("P4",)),
        3: (Doubt.SHARED, (4,)),
        4: (Doubt.SHARED, (3,)),
        5: (Doubt.SEPARATED, ()),
    }


def test_of_two_records_that_want_one_candidate_only_the_weaker_is_doubted() -> None:
    best = best_candidates({1: [suggestion(1, "P1", 0.99)], 2: [suggestion(2, "P1", 0.6)]})
    assert best[1].doubt is None
    assert best[2].doubt is Doubt.SHARED


@pytest.mark.parametrize(
    ("score", "likelihood"),
    [
        (1.0, "very likely"),
        (0.95, "very likely"),
        (0.9, "likely"),
        (0.5, "possible"),
        (0.1, "unlikely"),
        (0.0, "unlikely"),
    ],
)
def test_a_score_has_a_word(score: float, likelihood: str) -> None:
    found = suggestion(1, "P1", score, name="near", phone="differs", email="agrees")
    assert found.likelihood is Likelihood(likelihood)
    assert found.fields("differs") == ["phone"]
    assert found.differs
