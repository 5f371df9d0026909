"""The results of ``doctor``: findings in groups, and the report of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from bms_pipeline.core.errors import PipelineError
from bms_pipeline.core.vocabulary import Verdict
from bms_pipeline.warehouse.facts import Fact

EXIT_CODES = {Verdict.BLOCKED: 1, Verdict.DECIDE: 2, Verdict.READY: 0, Verdict.UNKNOWN: 0}
"""The exit code of a report with such a finding; the first group that has one counts."""


PASSPORTAL = "PASSPORTAL"
"""The code of the finding about Passportal as a whole."""


@dataclass(frozen=True)
class Finding:
    """The result of one check, known by its ``code``.

    ``text`` says it to a person, ``next_step`` what to do, or for ``UNKNOWN`` what happens until then. ``value`` is the
    proven habit of the service, None where nothing was proven; ``how`` it was seen. ``since``: the moment (UTC) when
    this value was first seen; ``was``: the contradicting value before. ``is_short``: it fits the first screen.
    """

    code: str
    verdict: Verdict
    text: str
    next_step: str = ""
    value: str | None = None
    how: str = ""
    is_short: bool = False
    since: datetime | None = None
    was: str | None = None

    @property
    def is_about_passportal(self) -> bool:
        """Whether it is about Passportal; all others are about BMS."""
        return self.code.startswith("PP-") or self.code == PASSPORTAL

    def compared(self, before: Fact | None, now: datetime) -> Finding:
        """Return the finding with the time since when its value holds, and with the value that it contradicts."""
        if self.value is None:
            return self
        if before is None or before.value == self.value:
            return replace(self, since=before.seen_at if before else now)
        changed = f"{self.text} (Was {before.value} since {before.seen_at:%Y-%m-%d}, is {self.value} now.)"
        return replace(self, text=changed, since=now, was=before.value, is_short=True)


def blocked(code: str, error: PipelineError) -> Finding:
    """Return the finding for an error that keeps a sync from working."""
    return Finding(code, Verdict.BLOCKED, error.message, error.next_step, is_short=True)


@dataclass(frozen=True)
class Examination:
    """All findings. ``calls``: service → calls made; ``hidden``: codes not checked because an answer is missing.

    ``not_stored``: why the facts were not kept, empty if they were.
    """

    findings: Sequence[Finding]
    calls: dict[str, int]
    seconds: float
    hidden: Sequence[str] = ()
    not_stored: str = ""
    groups: dict[Verdict, list[Finding]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Sort the findings into their groups."""
        groups = {group: [finding for finding in self.findings if finding.verdict is group] for group in Verdict}
        object.__setattr__(self, "groups", groups)

    @property
    def exit_code(self) -> int:
        """0: nothing is in the way; 2: a person should decide; 1: a sync cannot work."""
        return next((EXIT_CODES[group] for group in Verdict if self.groups[group]), 0)

    def value(self, code: str) -> str | None:
        """Return the proven value of a check."""
        return next((finding.value for finding in self.findings if finding.code == code), None)
