"""The page *Fields*: under which label each value of BMS lies in Passportal, tried and stored by a person.

labels of the last snapshot ─┐
a few documents, on request ─┴─▶ draft of this browser ──▶ try: what would change ──▶ store, with a reason
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from fastapi import APIRouter, Request, Response

from bms_pipeline.console.context import Console, ConsoleDep, FormDep, redirect_with_flash
from bms_pipeline.console.security import Session, SubmittedForm
from bms_pipeline.core.entities import BY_NAME, Entity
from bms_pipeline.core.errors import SettingsError
from bms_pipeline.core.mapping import Mapping
from bms_pipeline.core.mapping_parsing import parse_mapping
from bms_pipeline.core.vocabulary import FieldOwner
from bms_pipeline.passportal.documents.encoding import DetailsForm
from bms_pipeline.reconcile.sync_settings import read_sync_settings
from bms_pipeline.reports.field_places import TemplateFields, template_fields
from bms_pipeline.sync import label_samples
from bms_pipeline.sync import mapping as mappings
from bms_pipeline.sync.label_samples import MAPPED, Samples
from bms_pipeline.sync.suggested_mapping import suggest_mapping, with_label, with_template, with_word
from bms_pipeline.warehouse.stored_mapping import read_mapping

router = APIRouter()

HERE = "/fields"
_KEPT = "label samples"

TYPES = {
    DetailsForm.EMPTY: "text",
    DetailsForm.TEXT: "text",
    DetailsForm.LINK: "link, only read",
    DetailsForm.CHOICE: "choice, only read",
    DetailsForm.YES_NO: "yes/no, only read",
    DetailsForm.RICH: "formatted text",
    DetailsForm.OTHER: "another type, only read",
}
OWNERS = {
    FieldOwner.LAST_EDIT: "last edit",
    FieldOwner.BMS_WINS: "BMS",
    FieldOwner.FILL_IF_EMPTY: "fills what is empty",
    FieldOwner.PASSPORTAL_WINS: "Passportal",
}


@router.get(HERE)
def show(request: Request, console: ConsoleDep) -> Response:
    """Show every label with the value of BMS that lies there, and every value without a label."""
    session, samples = request.state.session, _samples(console)
    stored = _stored(console)
    draft = session.mapping or stored
    suggestion = suggest_mapping(console.settings, draft, samples)
    with console.reading.copy.open() as connection:
        templates = template_fields(connection, read_sync_settings(connection), draft, samples, suggestion)
    return console.page(
        request,
        "fields.html.j2",
        is_here=console.settings.passportal_target != "documents_api",
        is_looked=bool(samples.calls),
        has_records=any(samples.pairs.values()),
        samples=samples,
        templates=templates,
        suggestion=suggestion,
        suggestions=suggestion.count,
        draft=draft,
        is_changed=draft != stored,
        tried=session.foretold if session.foretold and session.foretold[0] == draft.hash else None,
        attempt=session.attempts.get("mapping"),
        siblings=Counter(fields.entity.name for fields in templates),
        types=TYPES,
        owners=OWNERS,
        names={entity.name: _names(draft, stored, entity) for entity in MAPPED},
        choices=_choices,
        most_samples=label_samples.MOST_SAMPLES,
    )


@router.post(f"{HERE}/look")
def look(request: Request, console: ConsoleDep) -> Response:
    """Read a few documents of each template, to compare them with their records. Stores nothing."""
    found = label_samples.read_samples(console.settings, console.reading.copy.open)
    console.kept[_KEPT] = found
    documents = sum(map(len, found.documents.values()))
    pairs = sum(map(len, found.pairs.values()))
    message = f"Read {documents:,} documents with {found.calls:,} calls"
    return redirect_with_flash(request, HERE, f"{message}: {pairs:,} of them are of records that match.")


@router.post(f"{HERE}/accept")
def accept(request: Request, console: ConsoleDep, form: FormDep) -> Response:
    """Put one suggestion into this browser's draft, or all of them."""
    draft = _draft(request.state.session, console)
    suggestion = suggest_mapping(console.settings, draft, _samples(console))
    what = form.get("what")
    if what == "all":
        return _changed(request, suggestion.mapping, f"{suggestion.count:,} suggestions are in the draft.")
    data = draft.as_json()
    if what == "marker" and suggestion.marker_label:
        data["marker_label"] = suggestion.marker_label
    for rule in suggestion.templates if what == "templates" else ():
        with_template(data, rule)
    for word in suggestion.words if what == "words" else ():
        with_word(data, word)
    for label in suggestion.labels if what == "label" else ():
        if (label.entity, label.template_id, label.column) == _field_in(form):
            others = _has_place_elsewhere(console, draft, label.entity, label.column, label.template_id)
            with_label(data, label.entity, label.column, label.label, label.template_id if others else "")
    return _change(request, data, "The suggestion is in the draft.", form)


@router.post(f"{HERE}/label")
def choose(request: Request, console: ConsoleDep, form: FormDep) -> Response:
    """Give a value another label in this browser's draft, or leave it out."""
    entity, template_id, column = _field_in(form)
    draft = _draft(request.state.session, console)
    if entity not in BY_NAME or column not in draft.entity(BY_NAME[entity]).columns[1:]:
        raise SettingsError("This value is not one of the console's.", "Open the page again.")
    label = None if "leave_out" in form else form.get("label")
    if label == "":
        raise SettingsError("No label was chosen.", "Choose one of the template's labels, or leave the value out.")
    data = draft.as_json()
    with_label(data, entity, column, label, template_id if "only" in form else "")
    name = draft.names(BY_NAME[entity])[column]
    return _change(request, data, f"{name} is left out." if label is None else f"{name} lies under {label}.", form)


@router.post(f"{HERE}/try")
def try_it(request: Request, console: ConsoleDep) -> Response:
    """Work out what the draft would change; nothing is stored, and no service is called."""
    session = request.state.session
    draft = _draft(session, console)
    session.attempts.pop("mapping", None)
    with console.reading.writing(request.state.name) as warehouse:
        session.foretold = draft.hash, mappings.try_mapping(console.settings, warehouse, draft)
    return redirect_with_flash(request, f"{HERE}#tried")


@router.post(f"{HERE}/store")
def store(request: Request, console: ConsoleDep, form: FormDep) -> Response:
    """Store the draft with its author and reason. The next preview plans by it."""
    session = request.state.session
    draft = _draft(session, console)
    session.attempts.pop("mapping", None)
    with console.reading.writing(request.state.name) as warehouse:
        mappings.store_mapping(
            console.settings, warehouse, draft, request.state.name, form.get("why")[:500], anyway="anyway" in form
        )
    session.mapping = session.foretold = None
    return redirect_with_flash(
        request, HERE, "The mapping is stored. The next preview plans by it; nothing is written before you finish it."
    )


@router.post(f"{HERE}/discard")
def discard(request: Request) -> Response:
    """Forget this browser's draft."""
    request.state.session.mapping = request.state.session.foretold = None
    return redirect_with_flash(request, HERE, "The draft is discarded.")


def _names(draft: Mapping, stored: Mapping, entity: Entity) -> dict[str, str]:
    """Return the names of all fields, also of those that the draft no longer adds."""
    return {**stored.names(entity), **draft.names(entity)}


def _stored(console: Console) -> Mapping:
    def ask() -> Mapping:
        with console.reading.copy.open() as connection:
            return read_mapping(connection)

    return console.reading.copy.cached("mapping", ask)


def _draft(session: Session, console: Console) -> Mapping:
    return session.mapping or _stored(console)


def _samples(console: Console) -> Samples:
    """Return what this console looked at, or what is known without a call."""
    looked: Samples | None = console.kept.get(_KEPT)
    return looked or console.reading.copy.cached(
        "known labels", lambda: label_samples.known(console.settings, console.reading.copy.open)
    )


def _field_in(form: SubmittedForm) -> tuple[str, str, str]:
    return form.get("entity"), form.get("template_id"), form.get("column")


def _change(request: Request, data: dict[str, Any], message: str, form: SubmittedForm) -> Response:
    """Take the table of a mapping as the draft."""
    entity, template_id, _ = _field_in(form)
    place = f"{entity}-{template_id}" if entity else ""
    return _changed(request, parse_mapping(data), message, place)


def _changed(request: Request, draft: Mapping, message: str, place: str = "") -> Response:
    request.state.session.mapping = draft
    return redirect_with_flash(request, f"{HERE}#{place}" if place else HERE, message)


def _has_place_elsewhere(console: Console, draft: Mapping, entity: str, column: str, template_id: str) -> bool:
    """Return whether another template has a place for this value, under its present label."""
    found = next(found for found in MAPPED if found.name == entity)
    return any(
        template.label(draft.label(found, column, template.id))
        for template in _samples(console).templates.get(entity, ())
        if template.id != template_id
    )


def _choices(fields: TemplateFields) -> list[str]:
    """Return the labels that a value can be given, those without a source first."""
    free = [row.label.name for row in fields.unused if row.label.is_alone]
    return [*free, *(row.label.name for row in fields.placed)]
