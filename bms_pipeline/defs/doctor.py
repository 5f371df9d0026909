"""The job `doctor`: look at both services, and keep the findings on the run's page."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from bms_pipeline.core.vocabulary import Verdict
from bms_pipeline.defs.jobs import JobStage, stage
from bms_pipeline.defs.metadata import table
from bms_pipeline.defs.resources import Pipeline
from bms_pipeline.doctor.examine import examine
from bms_pipeline.doctor.findings import Examination, Finding

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
def examine_services(context: dg.OpExecutionContext, pipeline: Pipeline) -> Iterator[dg.Output[dict[str, int]]]:
    """Examine both services. Raises ``Failure`` for findings that keep a sync from working."""
    with pipeline.read_only() as home:
        report = examine(home.settings)
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


def _table(findings: list[Finding]) -> dg.TableMetadataValue:
    return table(
        ("code", "finding", "next step", "value", "seen by", "since (UTC)"),
        [(found.code, found.text, found.next_step, found.value or "", found.how, _since(found)) for found in findings],
    )


def _since(found: Finding) -> str:
    return f"{found.since:%Y-%m-%d %H:%M}" if found.since else ""


DOCTOR = dg.GraphDefinition(name="doctor", node_defs=[examine_services], description=_DESCRIPTION).to_job(
    name="doctor",
    description=_DESCRIPTION,
    executor_def=dg.in_process_executor,
    tags=stage(JobStage.READ),
)
