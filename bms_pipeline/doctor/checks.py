"""How a check is declared, and what becomes of it when an answer that it needs is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from bms_pipeline.core.errors import PipelineError
from bms_pipeline.core.vocabulary import Verdict
from bms_pipeline.doctor.findings import Finding

Seen = TypeVar("Seen")


@dataclass(frozen=True)
class Check(Generic[Seen]):
    """One question to the answers. ``judge`` returns None where they do not show anything about it.

    ``needs``: the questions to the service whose errors leave it unanswered. ``meanwhile``: what happens while nobody
    knows; empty where it matters to nobody.
    """

    code: str
    judge: Callable[[Seen], Finding | None]
    needs: Sequence[str] = ()
    meanwhile: str = ""


def judged(
    checks: Iterable[Check[Seen]], seen: Seen, errors: Mapping[str, PipelineError]
) -> tuple[list[Finding], list[str]]:
    """Return the findings of all checks, and the codes of those that an error hides."""
    findings: list[Finding] = []
    hidden: list[str] = []
    for check in checks:
        if any(need in errors for need in check.needs):
            hidden.append(check.code)
            continue
        finding = check.judge(seen)
        if finding is not None:
            findings.append(finding)
        elif check.meanwhile:
            text, _, meanwhile = check.meanwhile.partition(" → ")
            findings.append(Finding(check.code, Verdict.UNKNOWN, text, meanwhile))
    return findings, hidden
