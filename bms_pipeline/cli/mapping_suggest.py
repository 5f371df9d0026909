"""The command ``mapping suggest``: which labels of the tenant fit which values of BMS, as a table and as TOML."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bms_pipeline.cli.on_demand import label_samples, mapping, open_warehouse, read_settings, suggested_mapping
from bms_pipeline.cli.output import AsJson, out, print_json, print_table, safe, say
from bms_pipeline.core.entities import BY_NAME
from bms_pipeline.core.files import atomic_write

if TYPE_CHECKING:
    from bms_pipeline.sync.label_samples import Samples
    from bms_pipeline.sync.suggested_mapping import SuggestedLabel, SuggestedMapping


def suggest(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Write the suggested mapping there; default: print it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare a few documents of each template with their records, and suggest a mapping. It stores nothing.

    Equal values of matched records are strong evidence, so run it after the first preview.
    """
    settings = read_settings()
    warehouse = open_warehouse(settings)
    samples = label_samples.read_samples(settings, warehouse.open)
    found = suggested_mapping.suggest_mapping(settings, mapping.current_mapping(warehouse), samples)
    if as_json:
        print_json({"calls": samples.calls, **asdict(found), "mapping": found.mapping.as_json()})
        return
    _print_suggestion(found, samples)
    if file is not None:
        with atomic_write(file) as unfinished:
            unfinished.write_text(found.mapping.as_toml(), encoding="utf-8")
        say(f"{safe(file)} holds the suggested mapping. Try it: `bms-pipeline mapping import {safe(file)} --dry-run`.")
    elif found.count:
        out.print(found.mapping.as_toml(), highlight=False, markup=False, soft_wrap=True)
        say("Nothing is stored. `mapping suggest FILE` writes it, and `mapping import FILE --dry-run` tries it.")


def _print_suggestion(found: SuggestedMapping, samples: Samples) -> None:
    documents, pairs = (sum(map(len, found_of.values())) for found_of in (samples.documents, samples.pairs))
    say(f"Read {documents:,} documents with {samples.calls:,} calls; {pairs:,} of them are of records that match.")
    if not pairs:
        say(
            "No record is matched yet, so only the names of labels tell. Run `bms-pipeline preview` first to know more."
        )
    columns = ("template", "field", "label", "why", "filled there", "filled in BMS")
    rows = [
        (
            f"{label.template} ({label.template_id})", f"{label.entity}.{label.column}", label.label, _why(label),
            f"{label.filled:,} of {label.read:,}", _share(samples.of_bms(BY_NAME[label.entity], label.column)),
        )
        for label in (*found.labels, *found.hints)
    ]  # fmt: skip
    if rows:
        print_table("Suggested labels", columns, rows)
    if found.marker_label:
        say(f"New documents would carry their BMS id as a line under {safe(found.marker_label)}.")
    for rule in found.templates:
        which = f"of {', '.join(rule.categories)}" if rule.categories else "of any other category"
        say(
            f"New {rule.entity} {safe(which)} would go into {safe(rule.template)} ({rule.template_id}):"
            f" {rule.agreed:,} of {rule.compared:,} lie there."
        )
    for word in found.words:
        say(
            f"{word.entity}.{word.column}: {safe(repr(word.word))} would be written as {safe(repr(word.ours))};"
            f" {word.agreed:,} of {word.compared:,} records have it so."
        )
    if not found.count:
        say("Nothing is suggested: each value has its label, or no label is like it.")


def _why(label: SuggestedLabel) -> str:
    same = f"{label.agreed:,} of {label.compared:,} records have the same value" if label.compared else ""
    parts = [same] if label.is_by_values else ["its name", same]
    return "; ".join(filter(None, [*parts, "" if label.is_plain else "only read"]))


def _share(part: float | None) -> str:
    return "—" if part is None else f"{part:.0%}"
