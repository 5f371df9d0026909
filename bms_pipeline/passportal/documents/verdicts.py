"""The outcomes of writes that did not take effect, with their reasons, and the errors that concern every write."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bms_pipeline.core.errors import ServiceError, SettingsError
from bms_pipeline.core.vocabulary import Outcome
from bms_pipeline.passportal.target import Write, Written

TAKES_NO_WRITES = "not sent: Passportal did not answer the writes before it, and none of them took effect"


def refused(write: Write, why: str, *, of_values: bool = False) -> Written:
    """Return the outcome of a write that is refused because of its record or of Passportal's answer."""
    return Written(write.bms_id, Outcome.REFUSED, why, of_values=of_values)


def all_refused(writes: Iterable[Write], why: str) -> dict[int, Written]:
    """Return BMS id → refused, for one reason."""
    return {write.bms_id: refused(write, why) for write in writes}


def all_not_sent(writes: Iterable[Write], why: str = TAKES_NO_WRITES) -> dict[int, Written]:
    """Return BMS id → not sent, for one reason: the writes are offered again."""
    return {write.bms_id: Written(write.bms_id, Outcome.NOT_SENT, why) for write in writes}


def no_field(template: str, labels: Sequence[str]) -> str:
    """Return why a value has no place in documents of a template."""
    return f"no place: template {template} has no field of plain text called {', '.join(labels)}"


def ignores_custom_id(document_id: str) -> SettingsError:
    """Return the error of a tenant that drops the marker of every document."""
    return SettingsError(
        f"Passportal does not keep the customId that it is sent; document {document_id} bears no marker.",
        "Set PASSPORTAL_MARKER=notes and sync again: the document is found by its name. Nothing is sent twice.",
    )


def drops_values(document_id: str, labels: Sequence[str]) -> ServiceError:
    """Return the error of a tenant that drops what a change sent back as it was."""
    return ServiceError(
        f"Passportal dropped what was sent back to it: {', '.join(labels)} of document {document_id}.",
        "Nothing else was written. Restore the document from its versions in Passportal, and compare PASSPORTAL_VALUES"
        " with the tenant's swagger page.",
    )
