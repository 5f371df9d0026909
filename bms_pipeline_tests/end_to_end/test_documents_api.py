"""A whole sync with Passportal behind its Documents API that loses answers: nothing twice, nothing left unknown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bms_pipeline import sync
from bms_pipeline.errors import ServiceError
from bms_pipeline.reconcile.plan import Plan
from bms_pipeline_tests.running import Home, running_home

TWICE = "SELECT type, marker FROM records WHERE marker IS NOT NULL GROUP BY ALL HAVING count(*) > 1"


def load(home: Home, plan: Plan) -> None:
    """A person approves the plan, and it is loaded."""
    home.approve(plan.hash)
    sync.finish(home.settings)


@pytest.mark.soak
@pytest.mark.parametrize(
    "switches",
    [
        {"lose_answers": 1.0},
        {"lose_answers": 0.3, "lose_calls": 0.1, "lost_shows": "502"},
        {
            "lose_answers": 0.3,
            "failing_share": 0.03,
            "update": "batch",
            "values": "element",
            "batch_refusal": "partial",
        },
    ],
    ids=str,
)
def test_whatever_answers_are_lost_one_more_run_leaves_nothing_unknown_and_nothing_twice(
    tmp_path: Path, switches: dict[str, Any]
) -> None:
    with running_home(tmp_path, target="documents_api", passportal=switches) as home:
        plan = sync.prepare(home.settings)
        assert plan.operations > 200
        for _ in range(20):
            try:
                load(home, plan)
                break
            except ServiceError:
                plan = sync.prepare(home.settings)
        assert home.service is not None
        home.service.behave(lose_answers=0, lose_calls=0, failing_share=0)
        assert sync.prepare(home.settings).operations == 0
        assert home.warehouse("SELECT count(*) FROM sync.journal WHERE outcome IS NULL") == [(0,)]
        assert home.passportal(TWICE) == []


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
        for result, named in wrong:
            assert result.returncode == 1
            assert named in result.stderr
            assert "Next:" in result.stderr
            assert canary not in result.stdout + result.stderr
        files = [each for each in home.folder.rglob("*") if each.is_file()]
        assert files
        assert [each for each in files if canary.encode() in each.read_bytes()] == []
