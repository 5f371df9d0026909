"""The last report of ``doctor`` as a document of the state, for readers that do not ask the services: the console."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from bms_pipeline.core.errors import PipelineError
from bms_pipeline.core.settings import Settings
from bms_pipeline.core.vocabulary import Verdict
from bms_pipeline.doctor.findings import Examination, Finding
from bms_pipeline.state.opening import open_state
from bms_pipeline.state.protocol import StateDocument


class KeptReport(msgspec.Struct):
    """A report, and when it was made (UTC). The rest is as in ``Examination``."""

    examined_at: datetime
    findings: list[Finding]
    calls: dict[str, int]
    seconds: float
    hidden: list[str]
    not_stored: str

    @property
    def groups(self) -> dict[Verdict, Sequence[Finding]]:
        """Verdict → its findings, the worst first, without empty groups."""
        found = {verdict: [it for it in self.findings if it.verdict is verdict] for verdict in Verdict}
        return {verdict: findings for verdict, findings in found.items() if findings}


def keep_report(settings: Settings, report: Examination) -> None:
    """Keep the report in place of the former one. Raises a ``PipelineError``."""
    kept = KeptReport(
        datetime.now(UTC),
        list(report.findings),
        report.calls,
        round(report.seconds, 1),
        list(report.hidden),
        report.not_stored,
    )
    open_state(settings).write(StateDocument.DOCTOR_REPORT, msgspec.json.encode(kept), patiently=False)


def read_report(settings: Settings) -> KeptReport | None:
    """Return the last report; None where there is none, or none that this version reads."""
    with contextlib.suppress(PipelineError, ValueError):
        if content := open_state(settings).read(StateDocument.DOCTOR_REPORT):
            return msgspec.json.decode(content, type=KeptReport)
    return None


def forget_report(settings: Settings) -> None:
    """Delete the last report: it is about another connection."""
    with contextlib.suppress(PipelineError):
        open_state(settings).forget(StateDocument.DOCTOR_REPORT)
