"""The job `doctor`: the findings on the run's page; it fails only where a sync cannot work."""

from __future__ import annotations

import json
from typing import Any

import dagster as dg
import pytest

from bms_pipeline_tests.defs.conftest import QUIET, Pipeline


def launched(pipeline: Pipeline) -> tuple[dg.ExecuteInProcessResult, dict[str, Any]]:
    """A run of the job, and the metadata of its step."""
    result = pipeline.definitions.resolve_job_def("doctor").execute_in_process(
        QUIET, instance=pipeline.instance, raise_on_error=False
    )
    data = [
        event.event_specific_data for event in result.all_events if event.is_step_failure or event.is_successful_output
    ]
    (found,) = data
    failure = getattr(found, "user_failure_data", None)
    return result, dict(failure.metadata if failure is not None else found.metadata)  # type: ignore[union-attr]


def rows(metadata: dict[str, Any], group: str) -> dict[str, dict[str, Any]]:
    return {record.data["code"]: dict(record.data) for record in metadata[group].records}


def test_the_findings_are_on_the_runs_page_in_their_groups(fresh: Pipeline) -> None:
    result, metadata = launched(fresh)

    assert result.success
    ready = rows(metadata, "ready")
    assert ready["BMS-CLAMP"]["value"] == "100"
    assert ready["BMS-CLAMP"]["seen by"]
    assert "in the way" not in metadata
    assert rows(metadata, "nobody can know yet")
    assert metadata["calls to BMS"].value <= 24


def test_the_facts_are_kept(fresh: Pipeline) -> None:
    launched(fresh)

    assert fresh.query("SELECT value FROM sync.facts WHERE name = 'BMS-CLAMP'") == [("100",)]
    assert fresh.query("SELECT count(*) FROM sync.sweeps") == [(0,)], "it reads no list to its end"


def test_it_fails_where_a_sync_cannot_work_and_says_why(fresh: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BMS_PASSWORD", "canary-wrong")

    result, metadata = launched(fresh)

    assert not result.success
    (finding,) = rows(metadata, "in the way").values()
    assert "refused the sign-in" in finding["finding"]
    assert metadata["not checked"].value
    shown = json.dumps([str(event) for event in result.all_events])
    assert "canary-wrong" not in shown
