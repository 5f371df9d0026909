"""The tenant changes between syncs: renames follow, edits are kept, what is gone is told, nothing is there twice."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from bms_pipeline.core.entities import ACCOUNTS, CONTACTS_LIST
from bms_pipeline.defs import sensors, ticks
from bms_pipeline.state.opening import open_state
from bms_pipeline.sync import loading, whole_sync
from bms_pipeline.sync.state_file import read_state
from bms_pipeline_tests.running import Home, running_home

Changes = dict[str, dict[str, list[int]]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with running_home(tmp_path_factory.mktemp("day_after_day"), seed=5) as home:
        result = home.call("sync", "--create-unmatched")
        assert result.returncode == 0, result.stderr
        yield home


@pytest.fixture(scope="module")
def matched_before(home: Home) -> dict[tuple[str, int], str]:
    return {(entity, bms_id): found for entity, bms_id, found in _matches(home)}


@pytest.fixture(scope="module")
def changes(home: Home, matched_before: dict[tuple[str, int], str]) -> Changes:
    changed = home.sandbox.mutate(11)
    result = home.call("sync", "--full", "--create-unmatched", "--json")
    assert result.returncode == 0, result.stderr
    assert all(counts["failed"] == 0 for counts in json.loads(result.stdout)["entities"].values())
    return changed


def test_a_renamed_record_keeps_its_partner_and_passes_its_name_on(
    home: Home, changes: Changes, matched_before: dict[tuple[str, int], str]
) -> None:
    renamed = [(entity, bms_id) for entity, kinds in changes.items() for bms_id in kinds["renamed"]]
    known = [each for each in renamed if each in matched_before]
    assert known
    matches = {(entity, bms_id): found for entity, bms_id, found in _matches(home)}
    for entity, bms_id in known:
        ((name, operation),) = home.warehouse(
            f"SELECT b.name, o.operation FROM bms.{entity} b JOIN sync.planned_{entity} o USING (bms_id)"
            f" WHERE bms_id = {bms_id}"
        )
        if operation == "skip":  # it is out of scope by now, or its client is
            continue
        assert operation == "update"
        assert matches[entity, bms_id] == matched_before[entity, bms_id]
        assert home.passportal(f"SELECT title FROM records WHERE id = '{matches[entity, bms_id]}'") == [(name,)]


def test_nothing_is_there_twice(home: Home, changes: Changes) -> None:
    assert (
        home.passportal(
            "SELECT type, client_id, marker FROM records WHERE marker IS NOT NULL GROUP BY ALL HAVING count(*) > 1"
        )
        == []
    )
    assert home.warehouse("SELECT entity, bms_id FROM sync.matches GROUP BY ALL HAVING count(*) > 1") == []
    assert home.warehouse("SELECT entity, passportal_id FROM sync.matches GROUP BY ALL HAVING count(*) > 1") == []


def test_a_moved_record_is_never_matched_across_clients(home: Home, changes: Changes) -> None:
    assert changes["contacts"]["moved"] or changes["assets"]["moved"]
    for entity in ("contacts", "assets", "locations"):
        across = home.warehouse(
            f"SELECT r.bms_id FROM sync.reconciled_{entity} r JOIN passportal.{entity} p USING (passportal_id)"
            " WHERE r.disposition = 'matched' AND p.client_id IS DISTINCT FROM r.client_id"
        )
        assert across == []


def test_what_is_gone_from_bms_is_reported_and_stays_in_passportal(
    home: Home, changes: Changes, matched_before: dict[tuple[str, int], str]
) -> None:
    deleted = [(entity, bms_id) for entity, kinds in changes.items() for bms_id in kinds["deleted"]]
    orphans = [
        (entity, matched_before[entity, bms_id]) for entity, bms_id in deleted if (entity, bms_id) in matched_before
    ]
    assert orphans
    reported = {entity: counts["orphaned"] for entity, counts in home.status()["entities"].items()}
    for entity in {entity for entity, _ in orphans}:
        assert reported[entity] == len([each for each in orphans if each[0] == entity])
    for _, passportal_id in orphans:
        assert home.passportal(f"SELECT count(*) FROM records WHERE id = '{passportal_id}'") == [(1,)]


def test_after_such_a_day_the_next_sync_plans_nothing(home: Home, changes: Changes) -> None:
    assert whole_sync.prepare(home.settings, create_unmatched_by="a person", full=True).operations == 0


def test_an_incremental_sync_asks_for_little_and_finds_what_a_full_one_finds(home: Home, changes: Changes) -> None:
    home.sandbox.mutate(12)
    home.sandbox.reset_calls()
    whole_sync.prepare(home.settings)
    calls = home.sandbox.calls()
    assert calls["GET /v2/crm/contacts/summary"] <= 2
    assert calls["GET /v2/crm/accounts/summary"] <= 2
    found = home.warehouse("SELECT bms_id, name, email FROM bms.contacts WHERE missing_since IS NULL ORDER BY ALL")
    whole_sync.prepare(home.settings, full=True)
    listed = home.warehouse("SELECT bms_id, name, email FROM bms.contacts WHERE missing_since IS NULL ORDER BY ALL")
    assert set(listed) <= set(found)  # a full sweep only adds the news of what is gone
    loading.finish(home.settings)


def test_an_edit_made_in_passportal_is_kept(home: Home, changes: Changes) -> None:
    ((bms_id, document),) = home.warehouse(
        "SELECT m.bms_id, m.passportal_id FROM sync.matches m JOIN sync.reconciled_contacts r USING (bms_id)"
        " JOIN bms.contacts b USING (bms_id) WHERE m.entity = 'contacts' AND r.disposition = 'matched'"
        " AND b.job_title IS NOT NULL ORDER BY ALL LIMIT 1"
    )
    _edit(home, document, "Job Title", "Edited by a person")
    assert whole_sync.prepare(home.settings).operations == 0
    ((kept,),) = home.warehouse(f"SELECT kept FROM sync.planned_contacts WHERE bms_id = {bms_id}")
    assert [(each["field"], each["passportal"]) for each in kept] == [("job_title", "Edited by a person")]


def test_a_quick_look_sees_new_records_and_only_those_that_no_sync_saw(home: Home, changes: Changes) -> None:
    assert home.call("sync", "--create-unmatched").returncode == 0
    published = read_state(open_state(home.settings))
    assert published is not None
    watched = ticks.lists_to_watch(published)
    assert watched == [ACCOUNTS, CONTACTS_LIST]
    home.sandbox.reset_calls()
    assert ticks.new_records(published, *sensors._look(home.settings, published, watched)) == ticks.Skip(
        "BMS has nothing new."
    )
    assert home.sandbox.calls()["GET /v2/crm/contacts/summary"] == 1
    home.sandbox.mutate(13)
    seen = ticks.new_records(published, *sensors._look(home.settings, published, watched))
    assert isinstance(seen, ticks.LaunchWanted)
    assert "new in contacts" in seen.why


def _edit(home: Home, document: str, label: str, text: str) -> None:
    """What a person does in Passportal's own pages."""
    import duckdb

    with duckdb.connect(str(home.settings.passportal_file)) as connection:
        connection.execute(
            "UPDATE records SET details = map_concat(details, MAP {$label: $text}) WHERE id = $id",
            {"label": label, "text": text, "id": document},
        )


def _matches(home: Home) -> list[tuple[str, int, str]]:
    return home.warehouse("SELECT entity, bms_id, passportal_id FROM sync.matches")
