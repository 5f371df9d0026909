"""The page *Refused*: what Passportal refused and is not sent again, and the button that asks for it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from bms_pipeline.console.context import (
    Console,
    ConsoleDep,
    FormDep,
    entity_of,
    number_in,
    one_page,
    redirect_with_flash,
)
from bms_pipeline.reports import figures
from bms_pipeline.sync import deciding

router = APIRouter()

HERE = "/refused"


@router.get(HERE)
def show(request: Request, console: ConsoleDep) -> Response:
    """Show the refused records with their fields, since when, and Passportal's words."""
    found = _refused(console)
    shown, paging = one_page(request, found)
    entities = list(dict.fromkeys(record["entity"] for record in found))
    counts = {name: sum(record["entity"] == name for record in found) for name in entities}
    return console.page(
        request, "refused.html.j2", records=shown, counts=counts, number_of_records=len(found), **paging
    )


@router.post(f"{HERE}/again")
def send_again(request: Request, console: ConsoleDep, form: FormDep) -> Response:
    """Let the next plan send it again: one record, or all refused ones of an entity."""
    entity = entity_of(form.get("entity"))
    chosen = [number_in(form.get("bms_id"))] if "bms_id" in form else None
    with console.reading.writing(request.state.name) as warehouse:
        records = deciding.retry(warehouse, {entity.name: chosen})
    if not records:
        return redirect_with_flash(request, HERE, "No refusal of it is held any more.")
    noun = entity.name if records != 1 else entity.singular
    return redirect_with_flash(request, HERE, f"The next sync sends {records:,} {noun} again.")


def _refused(console: Console) -> list[dict[str, Any]]:
    return figures.refused_values(console.reading.copy)
