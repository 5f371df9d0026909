"""The job `doctor`: look at both services, and keep the findings on the run's page and as checks of what is read.

The job evaluates the checks with what it found. A sync evaluates them with the last report, also one of the command or
of the console, and asks no service.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from bms_pipeline.core.vocabulary import Verdict
from bms_pipeline.defs import names
from bms_pipeline.defs.assets.extract import bms_key, passportal_key
from bms_pipeline.defs.jobs import JobStage, stage
from bms_pipeline.defs.metadata import table
from bms_pipeline.defs.resources import Pipeline
from bms_pipeline.doctor.examine import examine
from bms_pipeline.doctor.findings import Examination, Finding
from bms_pipeline.doctor.kept_report import KeptReport, read_report

_DESCRIPTION = (
    "Looks at BMS and Passportal with at most 40 calls that only read: what fits, what you decide, and what nobody can"
    " know yet. Fails only where a sync cannot work."
)
_GROUPS = {
    Verdict.BLOCKED: "in the way",
    Verdict.DECIDE: "you decide",
    Verdict.READY: "ready",
    Verdict.UNKNOWN: "nobody can know yet",
}


@dg.op(
    name="examine_services",
    description=_DESCRIPTION,
    out=dg.Out(dict[str, int], description="Verdict → findings."),
)
def examine_services(
    context: dg.OpExecutionContext, pipeline: Pipeline
) -> Iterator[dg.AssetCheckEvaluation | dg.Output[dict[str, int]]]:
    """Examine both services. Raises ``Failure`` for findings that keep a sync from working."""
    with pipeline.read_only() as home:
        report = examine(home.settings)
    for asset_name in _CHECKED:
        yield _evaluation(asset_name, judged(asset_name, report.findings, datetime.now(UTC)))
    if report.groups[Verdict.BLOCKED]:
        raise _failure(report)
    counts = {verdict.value: len(found) for verdict, found in report.groups.items()}
    context.log.info(", ".join(f"{words}: {len(report.groups[verdict])}" for verdict, words in _GROUPS.items()))
    yield dg.Output(counts, metadata=_metadata(report))


def _failure(report: Examination) -> dg.Failure:
    """Return the failure of a run whose sync could not work, with every finding."""
    first, *others = report.groups[Verdict.BLOCKED]
    more = f" And {len(others)} more in the way." if others else ""
    step = f"\n→ {first.next_step}" if first.next_step else ""
    return dg.Failure(f"{first.text}{more}{step}", metadata=_metadata(report), allow_retries=False)


def _metadata(report: Examination) -> dict[str, Any]:
    """Return the findings for the run's page, a table for each group that has any, the worst first."""
    tables: dict[str, Any] = {
        words: _table(report.groups[verdict]) for verdict, words in _GROUPS.items() if report.groups[verdict]
    }
    calls = {f"calls to {service}": calls for service, calls in report.calls.items()}
    not_checked = {"not checked": ", ".join(report.hidden)} if report.hidden else {}
    not_stored = {"facts not kept": report.not_stored} if report.not_stored else {}
    return {**tables, **calls, **not_checked, **not_stored}


CHECK = "doctor"
"""The name of the check with the findings about a service."""
_CHECKED = {bms_key("clients"): "BMS", passportal_key("clients"): "Passportal"}
"""The Dagster asset that is read first of a service → that service."""
_LOOK = "Launch the job `doctor`."


def build_findings_check(asset_name: str) -> dg.AssetChecksDefinition:
    """Build the check that the last look at a service found nothing to decide and nothing in the way."""

    @dg.asset_check(
        asset=names.asset_key(asset_name),
        name=CHECK,
        description=(
            f"Doctor looked at {_CHECKED[asset_name]} and found nothing to decide and nothing in the way of a sync."
            f" A warning is for you to decide; with an error no sync can work. To look again: {_LOOK}"
        ),
        blocking=False,
    )
    def check(pipeline: Pipeline) -> dg.AssetCheckResult:
        with pipeline.read_only() as home:
            return judged_report(asset_name, read_report(home.settings))

    return check


def judged_report(asset_name: str, report: KeptReport | None) -> dg.AssetCheckResult:
    """Return the result of the check of this asset by the last report, or by there being none."""
    if report is None:
        text = f"Doctor left no report about {_CHECKED[asset_name]}. {_LOOK}"
        return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN, description=text)
    return judged(asset_name, report.findings, report.examined_at)


def judged(asset_name: str, findings: Sequence[Finding], seen_at: datetime) -> dg.AssetCheckResult:
    """Return the result of the check of this asset by the findings of ``seen_at``."""
    is_passportal = asset_name == passportal_key("clients")
    groups = {
        verdict: [it for it in findings if it.verdict is verdict and it.is_about_passportal == is_passportal]
        for verdict in Verdict
    }
    open_ones = [*groups[Verdict.BLOCKED], *groups[Verdict.DECIDE]]
    return dg.AssetCheckResult(
        passed=not open_ones,
        severity=dg.AssetCheckSeverity.ERROR if groups[Verdict.BLOCKED] else dg.AssetCheckSeverity.WARN,
        description=_in_words(open_ones, seen_at) if open_ones else "",
        metadata={
            **{words: _table(groups[verdict]) for verdict, words in _GROUPS.items() if groups[verdict]},
            "looked at (UTC)": f"{seen_at:%Y-%m-%d %H:%M}",
        },
    )


def _in_words(findings: Sequence[Finding], seen_at: datetime) -> str:
    first, *others = findings
    more = f" And {len(others)} more." if others else ""
    step = f" {first.next_step}" if first.next_step else ""
    return f"{first.text}{step}{more} (Seen {seen_at:%Y-%m-%d %H:%M} UTC.)"


def _evaluation(asset_name: str, result: dg.AssetCheckResult) -> dg.AssetCheckEvaluation:
    """Return the evaluation that a job yields which materializes nothing."""
    return dg.AssetCheckEvaluation(
        asset_key=names.asset_key(asset_name),
        check_name=CHECK,
        passed=result.passed,
        severity=result.severity,
        description=result.description,
        metadata=result.metadata,
    )


def _table(findings: list[Finding]) -> dg.TableMetadataValue:
    return table(
        ("code", "finding", "next step", "value", "seen by", "since (UTC)"),
        [(found.code, found.text, found.next_step, found.value or "", found.how, _since(found)) for found in findings],
    )


def _since(found: Finding) -> str:
    return f"{found.since:%Y-%m-%d %H:%M}" if found.since else ""


CHECKS = tuple(build_findings_check(asset_name) for asset_name in _CHECKED)
DOCTOR = dg.GraphDefinition(name="doctor", node_defs=[examine_services], description=_DESCRIPTION).to_job(
    name="doctor",
    description=_DESCRIPTION,
    executor_def=dg.in_process_executor,
    tags=stage(JobStage.READ),
)
