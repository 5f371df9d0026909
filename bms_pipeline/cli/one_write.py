"""The output of ``doctor --write`` and ``doctor --restore``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bms_pipeline.cli.doctor import TITLES, block, finding_as_json, wrapped
from bms_pipeline.cli.on_demand import read_settings
from bms_pipeline.cli.output import print_json, say
from bms_pipeline.core.vocabulary import Verdict
from bms_pipeline.doctor import one_write
from bms_pipeline.doctor.findings import EXIT_CODES

if TYPE_CHECKING:
    from bms_pipeline.doctor.before_image import ImagePlace
    from bms_pipeline.doctor.one_write import Candidate, Tried
    from bms_pipeline.doctor.restore import RestoredDocument

RESTORE = "bms-pipeline doctor --restore"


def write(document_id: str, *, yes: bool, as_json: bool) -> int:
    """Try the document, or without ``yes`` say what a trial would do; return the exit code."""
    settings = read_settings()
    if not yes:
        _show_plan(one_write.candidate_for(settings, document_id), as_json=as_json)
        return EXIT_CODES[Verdict.DECIDE]

    def saved(place: ImagePlace, candidate: Candidate) -> None:
        _say(f"Document {candidate.document} “{candidate.title}” of {candidate.client} is saved in {place}.")
        _say(f"If anything stops this command, put it back: {RESTORE}, or in Passportal by its Version Control.")

    def silent(_: ImagePlace, __: Candidate) -> None: ...

    tried = one_write.try_document(
        settings,
        document_id,
        on_saved=silent if as_json else saved,
        on_restored=lambda earlier: None if as_json else _show_restored(earlier),
    )
    code = _code_of(tried)
    if as_json:
        print_json(
            {
                "exit_code": code,
                "findings": [finding_as_json(finding) for finding in tried.findings],
                "stopped": tried.stopped,
                "writes": tried.writes,
                "not_stored": tried.not_stored,
                "restored": _as_json(tried.restored),
            }
        )
        return code
    _show_findings(tried)
    return code


def restore(*, as_json: bool) -> int:
    """Put back every before-image that is still open; return the exit code."""
    restored = one_write.restore_all(read_settings())
    if as_json:
        print_json([_as_json(document) for document in restored])
    elif not restored:
        _say("No document waits for its before-image: nothing to restore.")
    for document in () if as_json else restored:
        _show_restored(document)
    return max((_restore_code(document) for document in restored), default=0)


def _show_plan(candidate: Candidate, *, as_json: bool) -> None:
    steps = candidate.places.steps
    if as_json:
        print_json(
            {
                "exit_code": 2,
                "document": candidate.document,
                "title": candidate.title,
                "client": candidate.client,
                "template": candidate.template,
                "steps": steps,
            }
        )
        return
    _say(
        f"Document {candidate.document} “{candidate.title}” of {candidate.client}, template {candidate.template}."
        " Nothing was written."
    )
    _say("With --yes, this command would:")
    for number, step in enumerate(steps, 1):
        _say(step, f"  {number}. ")
    _say(
        "Name a document that you made by hand in a test client. Its before-image is saved first and put back at the"
        " end. Passportal keeps a version of each change."
    )


def _show_findings(tried: Tried) -> None:
    for verdict in Verdict:
        found = [finding for finding in tried.findings if finding.verdict is verdict]
        for line in [TITLES[verdict], *(line for finding in found for line in block(finding, verbose=False))]:
            if found:
                say(line)
    if tried.stopped:
        _say(f"The trial stopped early: {tried.stopped}. The later steps were not tried.")
    if tried.not_stored:
        _say(f"Not kept for later: {tried.not_stored}")
    _show_restored(tried.restored)


def _show_restored(restored: RestoredDocument) -> None:
    name = f"Document {restored.document}"
    if restored.differing:
        _say(f"{name}: restored, but these differ: {', '.join(restored.differing)}.")
        if restored.refusal:
            _say(f"Passportal refuses to take it back: {restored.refusal}")
        _say(
            f"Restore it in Passportal by its Version Control, or run {RESTORE}. Its before-image is {restored.place}."
        )
    elif restored.again_at is not None:
        _say(
            f"{name}: restored, identical now. A change without answer may still come: run {RESTORE} after"
            f" {restored.again_at:%H:%M:%S} UTC."
        )
    else:
        _say(f"{name}: restored, identical. Its before-image is {restored.place}.")
    if restored.edited:
        _say(f"Edited by a person since, and left as it is: {', '.join(restored.edited)}.")


def _code_of(tried: Tried) -> int:
    found = next((EXIT_CODES[verdict] for verdict in Verdict if _has(tried, verdict)), 0)
    codes = {found, _restore_code(tried.restored)}
    return 1 if 1 in codes else max(codes)


def _has(tried: Tried, verdict: Verdict) -> bool:
    return any(finding.verdict is verdict for finding in tried.findings)


def _restore_code(restored: RestoredDocument) -> int:
    """0: identical; 2: come again, a change may still be on its way; 1: it differs."""
    return 1 if restored.differing else 2 if restored.again_at else 0


def _as_json(restored: RestoredDocument) -> dict[str, Any]:
    return {
        "document": restored.document,
        "identical": restored.is_identical,
        "differing": list(restored.differing),
        "edited": list(restored.edited),
        "again_at": restored.again_at,
        "before_image": str(restored.place),
    }


def _say(text: str, before: str = "") -> None:
    for line in wrapped(text, before):
        say(line)
