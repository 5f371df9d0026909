"""Faults of the product that strikes have found and that are not mended yet: each with a strike that shows it.

The test of known faults fails as soon as one is mended: delete its entry then.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class KnownFault:
    """``strike`` shows it; ``line`` fits what is wrong then."""

    strike: str
    line: str
    reason: str


KNOWN = (
    KnownFault(
        "second-embedded/torn/write@landing/accounts/*/.manifest.json.*.tmp#1",
        r"stray file landing/\w+/\*/\.manifest\.json\.\*\.tmp",
        "A sweep that dies before its first manifest leaves a folder that no later sweep resumes or deletes.",
    ),
    KnownFault(
        "backfill-embedded/eio/write@backups/.*.*Z-*-*.duckdb.new#21",
        r"stray file backups/\..*\.duckdb\.new(\.wal)?$",
        "A copy that could not be written leaves its unfinished file and that file's log.",
    ),
    KnownFault(
        "finish-embedded/step-after/write@.published.json.*.new.json#1",
        r"stray file (import_files/)?\.[^/]+\.new(\.\w+)?$",
        "A kill while a file is made whole leaves the unfinished one, and no later run deletes it.",
    ),
)


def reason_of(wrong: Iterable[str]) -> str:
    """Why all of these lines are known; empty where one of them is not, or there is none."""
    reasons = {next((fault.reason for fault in KNOWN if re.match(fault.line, line)), "") for line in wrong}
    return "" if "" in reasons else " ".join(sorted(reasons))
