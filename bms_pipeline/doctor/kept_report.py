"""The last report of ``doctor`` as a file in the home folder, for readers that do not ask the services: the console."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from bms_pipeline.core.files import atomic_write
from bms_pipeline.core.settings import Settings
from bms_pipeline.core.vocabulary import Verdict
from bms_pipeline.doctor.findings import Examination, Finding


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


def report_file(settings: Settings) -> Path:
    """Return the file of the last report."""
    return settings.bms_pipeline_home / "doctor.json"


def keep_report(settings: Settings, report: Examination) -> None:
    """Keep the report in place of the former one, readable by its owner only. Raises a ``PipelineError``."""
    kept = KeptReport(
        datetime.now(UTC),
        list(report.findings),
        report.calls,
        round(report.seconds, 1),
        list(report.hidden),
        report.not_stored,
    )
    file = report_file(settings)
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with atomic_write(file) as unfinished:
        unfinished.write_bytes(msgspec.json.encode(kept))


def read_report(settings: Settings) -> KeptReport | None:
    """Return the last report; None where there is none, or none that this version reads."""
    try:
        return msgspec.json.decode(report_file(settings).read_bytes(), type=KeptReport)
    except (OSError, ValueError):
        return None


def forget_report(settings: Settings) -> None:
    """Delete the last report: it is about another connection."""
    with contextlib.suppress(OSError):
        report_file(settings).unlink(missing_ok=True)
