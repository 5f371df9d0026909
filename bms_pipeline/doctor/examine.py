"""The examination: ask both services at once, judge the answers, and keep what they proved."""

from __future__ import annotations

import time
from dataclasses import dataclass

from bms_pipeline.core.errors import AccessRefused, RequestRefused, WarehouseError
from bms_pipeline.core.settings import Settings, check_given, needed_settings
from bms_pipeline.core.vocabulary import Group
from bms_pipeline.doctor import bms_findings, first_sync
from bms_pipeline.doctor.bms import MOST_CALLS, BmsSeen, look_at_bms
from bms_pipeline.doctor.bounds import BoundReached, Bounds
from bms_pipeline.doctor.checks import judged
from bms_pipeline.doctor.findings import Finding, Report, blocked
from bms_pipeline.warehouse.connection import Warehouse, now
from bms_pipeline.warehouse.facts import Fact, add_facts

WAREHOUSE_SECONDS = 3.0
"""How long to wait for a warehouse that a run holds; the facts are worth no more."""


@dataclass(frozen=True)
class _Part:
    """What one service showed."""

    findings: list[Finding]
    hidden: list[str]
    calls: dict[str, int]


def examine(settings: Settings) -> Report:
    """Look at the services of these settings; write nothing to them.

    Raises ``SettingsError`` naming every missing setting. Any other failure is a finding.
    """
    check_given(settings, needed_settings(settings))
    began = time.monotonic()
    bms = _examine_bms(settings)
    findings, not_stored = _compared(settings, bms.findings)
    return Report(findings, bms.calls, time.monotonic() - began, bms.hidden, not_stored)


def _examine_bms(settings: Settings) -> _Part:
    bounds = Bounds("BMS", MOST_CALLS)
    seen = look_at_bms(settings, bounds)
    checks = [*bms_findings.CHECKS[:2], *first_sync.checks(settings), *bms_findings.CHECKS[2:]]
    if not seen.url:
        error = seen.errors["sign-in"]
        return _Part([blocked("BMS-LOGIN", error)], [check.code for check in checks[1:]], {"BMS": bounds.calls})
    findings, hidden = judged(checks, seen, seen.errors)
    return _Part([*_failures(seen), *findings], hidden, {"BMS": bounds.calls})


def _failures(seen: BmsSeen) -> list[Finding]:
    """Return a finding for each failure of a call, except missing rights, which have a check of their own."""
    found: dict[str, Finding] = {}
    for question, error in seen.errors.items():
        if isinstance(error, BoundReached):
            found.setdefault(error.message, Finding("BMS-SPEED", Group.UNKNOWN, error.message, error.next_step))
        elif isinstance(error, AccessRefused):
            continue
        elif question in seen.needed:
            found[question] = blocked("BMS-LISTS", error)
        elif not isinstance(error, RequestRefused):
            found[question] = Finding("BMS-ANSWERS", Group.UNKNOWN, error.message, error.next_step)
    return list(found.values())


def _compared(settings: Settings, findings: list[Finding]) -> tuple[list[Finding], str]:
    """Store what was proved; return the findings compared with what was stored before, and why nothing is stored."""
    moment = now()
    seen = [Fact(finding.code, finding.value, finding.how, moment) for finding in findings if finding.value is not None]
    try:
        with Warehouse(settings.warehouse_file, WAREHOUSE_SECONDS).transaction() as connection:
            before = add_facts(connection, seen)
    except WarehouseError as error:
        return findings, error.message
    return [finding.compared(before.get(finding.code), moment) for finding in findings], ""
