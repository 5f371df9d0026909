"""The examination: ask both services at once, judge the answers, and keep what they proved."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from bms_pipeline.bms.client import Identity, identity_in
from bms_pipeline.core.errors import PipelineError, SettingsError, WarehouseError
from bms_pipeline.core.mapping import DEFAULT
from bms_pipeline.core.mapping import Mapping as FieldMapping
from bms_pipeline.core.settings import Settings, check_given, needed_settings
from bms_pipeline.core.vocabulary import Verdict
from bms_pipeline.doctor import before_image, bms, bms_findings, first_sync, passportal, passportal_findings
from bms_pipeline.doctor.bounds import BoundReached, Bounds
from bms_pipeline.doctor.checks import Check, Seen, judged
from bms_pipeline.doctor.findings import PASSPORTAL, Examination, Finding, blocked
from bms_pipeline.doctor.kept_report import keep_report
from bms_pipeline.sync import services
from bms_pipeline.warehouse import facts
from bms_pipeline.warehouse.connection import now, open_warehouse
from bms_pipeline.warehouse.facts import Fact, add_facts

WAREHOUSE_SECONDS = 3.0
"""How long to wait for a warehouse that a run holds; the facts are worth no more."""


@dataclass(frozen=True)
class _Part:
    """What one service showed. ``identity``: of the BMS that was reached."""

    findings: list[Finding]
    hidden: list[str]
    identity: Identity | None = None


def examine(settings: Settings) -> Examination:
    """Look at the services of these settings; write nothing to them.

    Raises ``SettingsError`` naming every missing setting. Any other failure is a finding.
    """
    check_given(settings, needed_settings(settings))
    began = time.monotonic()
    looks = {"BMS": (_examine_bms, Bounds("BMS", bms.MOST_CALLS))}
    if not services.is_passportal_here(settings):
        looks["Passportal"] = (_examine_passportal, Bounds("Passportal", passportal.MOST_CALLS))
    with ThreadPoolExecutor(len(looks)) as pool:
        parts = [part.result() for part in [pool.submit(look, settings, bounds) for look, bounds in looks.values()]]
    findings = [finding for part in parts for finding in part.findings]
    if services.is_passportal_here(settings):
        findings.append(_EMBEDDED)
    findings, not_stored = _stored(settings, findings, parts[0].identity)
    findings = [*_left_changed(settings), *findings]
    report = Examination(
        findings,
        calls={name: bounds.calls for name, (_, bounds) in looks.items()},
        seconds=time.monotonic() - began,
        hidden=[code for part in parts for code in part.hidden],
        not_stored=not_stored,
    )
    with contextlib.suppress(PipelineError):  # the report is shown all the same
        keep_report(settings, report)
    return report


_EMBEDDED = Finding(
    PASSPORTAL,
    Verdict.READY,
    "the embedded store stands in for Passportal (PASSPORTAL_TARGET): only BMS was looked at",
    is_short=True,
)


def _examine_bms(settings: Settings, bounds: Bounds) -> _Part:
    seen = bms.look_at_bms(settings, bounds)
    checks = [*bms_findings.CHECKS[:1], *first_sync.size_checks(settings), *bms_findings.CHECKS[1:]]
    part = _part("BMS", checks, seen, seen.errors, {"account types", *(call.name for call in bms.LISTS)})
    return replace(part, identity=identity_in(seen.user, seen.url)) if seen.url else part


def _examine_passportal(settings: Settings, bounds: Bounds) -> _Part:
    seen = passportal.look_at_passportal(settings, bounds)
    checks = passportal_findings.passportal_checks(settings, _mapping(settings))
    return _part("PP", checks, seen, seen.errors, {"clients", *passportal.KINDS})


def _mapping(settings: Settings) -> FieldMapping:
    """Return the stored mapping; the usual one where the warehouse cannot be read now."""
    with contextlib.suppress(PipelineError):
        return services.mapping_of(settings, WAREHOUSE_SECONDS)
    return DEFAULT


def _part(
    prefix: str, checks: Sequence[Check[Seen]], seen: Seen, errors: Mapping[str, PipelineError], needed: Collection[str]
) -> _Part:
    """Judge the answers of one service. ``needed``: the questions without whose answer a sync cannot work."""
    if "sign-in" in errors:
        return _Part([blocked(checks[0].code, errors["sign-in"])], [check.code for check in checks[1:]])
    findings, hidden = judged(checks, seen, errors)
    return _Part([*_failures(prefix, errors, needed), *findings], hidden)


def _failures(prefix: str, errors: Mapping[str, PipelineError], needed: Collection[str]) -> list[Finding]:
    """Return a finding for each failure of a call, one for those with the same words."""
    found: dict[str, Finding] = {}
    for question, error in errors.items():
        if question in needed and not isinstance(error, BoundReached):
            found[error.message] = blocked(f"{prefix}-LISTS", error)
        else:
            unknown = Finding(f"{prefix}-ANSWERS", Verdict.UNKNOWN, error.message, error.next_step)
            found.setdefault(error.message, unknown)
    return list(found.values())


def _stored(settings: Settings, findings: list[Finding], identity: Identity | None) -> tuple[list[Finding], str]:
    """Store what was proved, unless this home folder holds another tenant's records.

    Return the findings compared with what was stored before, and why nothing is stored.
    """
    moment = now()
    seen = [Fact(found.code, found.value, found.how, moment) for found in findings if found.value is not None]
    try:
        with open_warehouse(settings, WAREHOUSE_SECONDS).transaction() as connection:
            if identity is not None:
                services.check_same_tenant(identity, services.known_tenant(connection))
            before = add_facts(connection, seen)
    except SettingsError as error:
        return [blocked("BMS-TENANT", error), *findings], error.message
    except WarehouseError as error:
        return findings, error.message
    compared = [finding.compared(before.get(finding.code), moment) for finding in findings]
    return _with_trial(compared, before, services.is_passportal_here(settings)), ""


_OF_TRIAL = {
    facts.KEEPS: "a change",
    facts.UPDATE: "changes are taken by PASSPORTAL_UPDATE",
    facts.BODY: "changes are taken by PASSPORTAL_BODY",
    facts.VALUES: "changes are taken by PASSPORTAL_VALUES",
    facts.TEMPLATE_PREFIX: "templates are named with",
    facts.SENT_CUSTOM_ID: "a customId that is sent is",
}
"""The facts that only ``doctor --write`` shows, with the words before their value."""


def _with_trial(findings: list[Finding], known: Mapping[str, Fact], is_passportal_here: bool) -> list[Finding]:
    """Return the findings with what an earlier trial of a document proved, in place of what nobody could know."""
    shown = {} if is_passportal_here else {code: known[code] for code in _OF_TRIAL if code in known}
    recalled = [
        Finding(code, Verdict.READY, f"{_OF_TRIAL[code]} {it.value}", "", it.value, it.how, since=it.seen_at)
        for code, it in shown.items()
    ]
    settled = {"PP-WRITES": facts.UPDATE, "PP-CUSTOM-ID": facts.SENT_CUSTOM_ID}
    kept = [it for it in findings if not (it.verdict is Verdict.UNKNOWN and settled.get(it.code) in shown)]
    return [*kept, *recalled]


def _left_changed(settings: Settings) -> list[Finding]:
    """Return a finding for each document that a stopped trial may have left changed."""
    try:
        places = before_image.open_images(settings)
    except PipelineError as error:
        text = f"whether a trial left a document changed: {error.message}"
        return [Finding("PP-TRIAL", Verdict.UNKNOWN, text, error.next_step)]
    step = "Put it back: bms-pipeline doctor --restore"
    return [
        Finding(
            "PP-TRIAL",
            Verdict.DECIDE,
            f"A trial of document {place.document} was stopped: {_MAY_SHOW}",
            step,
            is_short=True,
        )
        for place in places
    ]


_MAY_SHOW = "it may still show the trial's texts."
