"""Against the truth file: what belongs together is matched, what is unsure is shown, nothing is created twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bms_pipeline.sync import loading, whole_sync
from bms_pipeline_tests.running import Home, quick_and_soak, running_home
from bms_sandbox.tenant import Size

QUICK = (1,)
SOAK = range(1, 11)


@pytest.mark.parametrize("seed", quick_and_soak(QUICK, SOAK))
def test_matches_are_the_truth_and_nothing_is_created_twice(tmp_path: Path, seed: int) -> None:
    check_against_the_truth(tmp_path, "small", seed)


@pytest.mark.soak
def test_the_same_holds_for_a_tenant_of_typical_size(tmp_path: Path) -> None:
    check_against_the_truth(tmp_path, "typical", 1)


def check_against_the_truth(tmp_path: Path, size: Size, seed: int) -> None:
    """Sync such a tenant once, and compare what became of each record with the truth file."""
    with running_home(tmp_path, size, seed) as home:
        compare_with_the_truth(home)


def compare_with_the_truth(home: Home) -> None:
    """Sync once, where Passportal's API cannot create something also once it is imported, and see what became of it."""
    plan = whole_sync.prepare(home.settings, create_unmatched_by="a person")
    home.approve(plan.hash)
    results = loading.finish(home.settings).results
    if home.settle():
        whole_sync.prepare(home.settings)
        results = loading.finish(home.settings).results
    truth: dict[str, dict[str, Any]] = json.loads((home.sandbox.folder / "truth.json").read_text())["entities"]
    for entity, expected in truth.items():
        _check_automatic_matches(home, entity, expected)
        _check_who_waits(home, entity, expected)
        _check_creates(home, entity, expected)
        assert results[entity]["failed"] == results[entity]["pending"] == 0
    assert whole_sync.prepare(home.settings).operations == 0


def _check_automatic_matches(home: Home, entity: str, expected: dict[str, Any]) -> None:
    """Precision 100 %, and recall 100 % of the pairs that bear identical names."""
    adopted = home.warehouse(
        f"SELECT bms_id, passportal_id FROM sync.journal j WHERE entity = '{entity}' AND operation = 'adopt'"
        " AND NOT EXISTS (FROM sync.pending_imports h WHERE h.entity = j.entity AND h.bms_id = j.bms_id)"
    )
    assert {str(bms_id): passportal_id for bms_id, passportal_id in adopted} == expected["identical"]


def _check_who_waits(home: Home, entity: str, expected: dict[str, Any]) -> None:
    rows = home.warehouse(f"SELECT disposition, bms_id FROM sync.reconciled_{entity}")
    found: dict[str, set[int]] = {}
    for disposition, bms_id in rows:
        found.setdefault(disposition, set()).add(bms_id)
    assert found.get("ambiguous", set()) == set(expected["ambiguous"])
    assert found.get("unmatched", set()) == {*map(int, expected["near"]), *expected["unnamed"]}
    assert found.get("blocked", set()) == set(expected["blocked"])
    assert found.get("out_of_scope", set()) == set(expected["out_of_scope"])


def _check_creates(home: Home, entity: str, expected: dict[str, Any]) -> None:
    """Each record that Passportal lacked is there once, inside its own client, and no other was created."""
    before = (home.sandbox.folder / "passportal" / f"{entity}.ndjson").read_bytes().splitlines()
    there_before = {json.loads(line)["passportal_id"] for line in before}
    type_ = entity.removesuffix("s")
    created = {id_ for (id_,) in home.passportal(f"SELECT id FROM records WHERE type = '{type_}'")} - there_before
    matches = home.warehouse(f"SELECT passportal_id, bms_id FROM sync.matches WHERE entity = '{entity}'")
    partners = dict(matches)
    assert sorted(partners.get(each, 0) for each in created) == sorted(expected["new"])
    strays = home.warehouse(
        f"SELECT m.bms_id FROM sync.matches m JOIN passportal.{entity} p USING (passportal_id)"
        f" JOIN bms.{entity} b ON b.bms_id = m.bms_id"
        " LEFT JOIN sync.matches c ON c.entity = 'clients' AND c.bms_id = b.account_id"
        f" WHERE m.entity = '{entity}' AND '{entity}' NOT IN ('clients', 'users')"
        " AND p.client_id IS DISTINCT FROM c.passportal_id"
    )
    assert strays == []
