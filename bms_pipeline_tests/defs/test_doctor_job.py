"""The job `doctor`: the findings on the run's page and as checks; it fails only where a sync cannot work."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import dagster as dg
import pytest

from bms_pipeline.core.settings import read_settings
from bms_pipeline.core.vocabulary import Verdict
from bms_pipeline.doctor.findings import Examination, Finding
from bms_pipeline.doctor.kept_report import forget_report, keep_report
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


# The checks


READY = Finding("BMS-CLAMP", Verdict.READY, "pages have 100 records", value="100")
DECIDE = Finding("PP-TWINS", Verdict.DECIDE, "two documents have one name", "Look at them.")
BLOCKED = Finding("BMS-RIGHTS", Verdict.BLOCKED, "the user may not list assets", "Give it the right.")


def evaluated(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    """The evaluations of a run, by the last part of the asset's key."""
    return {found.asset_key.path[-1]: found for found in result.get_asset_check_evaluations()}


def of_the_report(pipeline: Pipeline, *findings: Finding) -> dict[str, dg.AssetCheckEvaluation]:
    """The checks after somebody looked and found this, with services that answer nobody."""
    with pytest.MonkeyPatch.context() as gone:
        gone.setenv("BMS_API_URL", "http://127.0.0.1:9")
        gone.setenv("BMS_URL", "http://127.0.0.1:9")
        keep_report(read_settings(), Examination(findings, {"BMS": 1}, 0.5))
        runs = [pipeline.check_alone(key, "doctor") for key in ("bms_clients", "passportal_clients")]
    assert [run.failures for run in runs] == [{}, {}]
    return {key: found for run in runs for key, found in evaluated(run.result).items()}


def test_the_job_evaluates_the_checks_of_both_services(fresh: Pipeline) -> None:
    result, _ = launched(fresh)

    found = evaluated(result)
    assert set(found) == {"bms_clients", "passportal_clients"}
    assert all(evaluation.check_name == "doctor" for evaluation in found.values())
    assert found["passportal_clients"].passed
    assert "looked at (UTC)" in found["bms_clients"].metadata
    key = dg.AssetCheckKey(dg.AssetKey("passportal_clients"), "doctor")
    (record,) = fresh.instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
    assert record.status.value == "SUCCEEDED", "the lineage page shows it"


def test_a_sync_that_cannot_work_is_an_error_of_the_check_too(fresh: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BMS_PASSWORD", "canary-wrong")

    result, _ = launched(fresh)

    found = evaluated(result)
    assert (found["bms_clients"].passed, found["bms_clients"].severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "refused the sign-in" in (found["bms_clients"].description or "")
    assert found["passportal_clients"].passed, "each service has its own findings"


def test_a_check_shows_the_last_report_and_asks_no_service(fresh: Pipeline) -> None:
    found = of_the_report(fresh, READY, DECIDE)

    assert found["bms_clients"].passed
    warned = found["passportal_clients"]
    assert (warned.passed, warned.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert (warned.description or "").startswith("two documents have one name Look at them. (Seen ")
    listed = warned.metadata["you decide"]
    assert isinstance(listed, dg.TableMetadataValue)
    (row,) = listed.records
    assert row.data["code"] == "PP-TWINS"


def test_what_is_in_the_way_is_an_error_and_comes_first(fresh: Pipeline) -> None:
    found = of_the_report(fresh, replace(DECIDE, code="BMS-DATES"), BLOCKED)

    assert found["bms_clients"].severity is dg.AssetCheckSeverity.ERROR
    assert (found["bms_clients"].description or "").startswith("the user may not list assets Give it the right. And 1")
    assert found["passportal_clients"].passed


def test_a_service_that_nobody_looked_at_is_not_shown_as_fit(fresh: Pipeline) -> None:
    forget_report(read_settings())

    run = fresh.check_alone("bms_clients", "doctor")

    (evaluation,) = run.result.get_asset_check_evaluations()
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "Launch the job `doctor`" in (evaluation.description or "")


def test_a_finding_in_the_way_stops_no_sync(fresh: Pipeline) -> None:
    """It may have been repaired since; the sync itself finds that out."""
    keep_report(read_settings(), Examination([BLOCKED], {"BMS": 1}, 0.5))

    run = fresh.run("initial_sync")

    assert run.failures == {}
    assert "sync_plan" in run.metadata
    assert "bms_clients doctor" in run.failed_checks
