"""The commands ``mapping``: show, export, try and store where the values of BMS lie in Passportal."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bms_pipeline.cli.on_demand import mapping, open_warehouse, read_settings, run_lock
from bms_pipeline.cli.output import AsJson, me, print_json, print_table, safe, say, this_command
from bms_pipeline.core.entities import BY_NAME, ENTITIES, Entity
from bms_pipeline.core.errors import SettingsError
from bms_pipeline.core.files import atomic_write
from bms_pipeline.core.mapping import FieldRule, Mapping, parse_mapping

if TYPE_CHECKING:
    from bms_pipeline.sync.mapping import Foretold

app = typer.Typer(
    help="Under which label, in which words and in which template a value of BMS lies in Passportal.",
    no_args_is_help=True,
)

File = Annotated[Path, typer.Argument(metavar="FILE", help="The mapping as TOML.")]


@app.command()
def show(as_json: AsJson = False) -> None:
    """Show the mapping: each field with its label, and what is set for it."""
    stored = mapping.current_mapping(open_warehouse(read_settings()))
    if as_json:
        print_json({"hash": stored.hash, "mapping": stored.as_json()})
        return
    for entity in ENTITIES:
        print_table(entity.name.capitalize(), ("field", "label in Passportal", "set"), _rows(stored, entity))
        for rule in stored.of(entity).templates:
            categories = ", ".join(rule.categories) or "all other categories"
            say(f"  New {entity.name} of {safe(categories)} go into template {rule.template}.")
    if not stored.hash:
        say(
            "Nothing is set: labels are compared as they are. `bms-pipeline mapping export FILE` writes a file to edit."
        )


@app.command("export")
def export_file(file: File) -> None:
    """Write the mapping into FILE, to edit it and to keep it in git; `mapping import` takes it back."""
    stored = mapping.current_mapping(open_warehouse(read_settings()))
    with atomic_write(file) as unfinished:
        unfinished.write_text(stored.as_toml(), encoding="utf-8")
    say(f"{safe(file)} holds the mapping. Try a change of it: `bms-pipeline mapping import {safe(file)} --dry-run`.")


@app.command("import")
def import_file(
    file: File,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would do; store nothing.")] = False,
    anyway: Annotated[
        bool,
        typer.Option("--anyway", help="Store it although a label or template is unknown, or a match key left out."),
    ] = False,
    why: Annotated[str, typer.Option(help="Why, for the history.")] = "",
    by: Annotated[str | None, typer.Option(help="Who changes it, for the history; default: you.")] = None,
    as_json: AsJson = False,
) -> None:
    """Store the mapping in FILE, and say what the next plan does because of it.

    A person finishes that plan by its hash. With --dry-run, exit code 2: it would be refused; 0: it would be stored.
    """
    wanted = parse_mapping(_read(file))
    settings = read_settings()
    warehouse = open_warehouse(settings)
    with run_lock.running(settings, this_command()):
        if dry_run:
            foretold = mapping.try_mapping(settings, warehouse, wanted)
        else:
            foretold = mapping.store_mapping(settings, warehouse, wanted, by or me(), why, anyway=anyway)
    if as_json:
        print_json(foretold)
    else:
        _print_foretold(foretold, dry_run=dry_run)
    if dry_run and foretold.problems:
        raise typer.Exit(2)


@app.command()
def check(as_json: AsJson = False) -> None:
    """Compare the stored mapping with what was read of both services. Exit code 2: something does not fit."""
    settings = read_settings()
    found = mapping.check_mapping(settings, open_warehouse(settings))
    if as_json:
        print_json(found)
    else:
        _print_remarks(found)
        if not (found.problems or found.words or found.cut or found.other_template):
            say("The mapping fits what was read of both services.")
    if found.problems or found.words:
        raise typer.Exit(2)


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise SettingsError(
            f"{file} cannot be read: {(error.strerror or str(error)).lower()}.", "`mapping export FILE` writes one."
        ) from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{file} is no TOML file: {error}.", "Correct this place, and import it again.") from None


def _rows(stored: Mapping, entity: Entity) -> list[tuple[str, str, str]]:
    rows = []
    for column in entity.columns[1:]:
        rule = stored.rule(entity, column)
        elsewhere = [
            f"{stored.label(entity, column, template) or 'left out'} in template {template}"
            for template in stored.exceptions(entity)
            if stored.label(entity, column, template) != stored.label(entity, column)
        ]
        is_set = "; ".join(filter(None, [_in_words(rule), *elsewhere]))
        rows.append((column, stored.label(entity, column) or "(left out)", is_set))
    return rows


def _in_words(rule: FieldRule) -> str:
    parts = {
        "words": rule.words and f"{len(rule.words):,} words, all others: {rule.other}",
        "constant": rule.constant and f"always {rule.constant!r}",
        "text": rule.text and f"made of {rule.text!r}",
        "default": rule.default and f"{rule.default!r} in new records without a value",
        "most": rule.most and f"at most {rule.most:,} characters",
        "date": rule.date and f"as {rule.date}",
        "required": "required" if rule.required else "",
        "link": rule.link and f"a link to {rule.link}, by id",
    }
    return "; ".join(part for part in parts.values() if part)


def _print_foretold(foretold: Foretold, *, dry_run: bool) -> None:
    if foretold.is_same:
        say("No change: this mapping is stored already.")
        return
    for entity, documents in foretold.documents.items():
        say(f"{documents:,} documents of {entity} are read again by the next sync, one call each.")
    rows = [
        (
            f"{change.entity}.{change.field}", change.label or "(left out)", change.filled, change.followed,
            change.overwritten, change.kept, change.no_place,
        )
        for change in foretold.changes
    ]  # fmt: skip
    columns = ("field", "label", "filled", "our text renewed", "overwritten", "differ and stay", "no place")
    if rows:
        print_table("What the next plan does, in records", columns, rows, numbers=columns[2:])
    _print_remarks(foretold)
    if dry_run:
        say("Nothing is stored: this was a try.")
    else:
        say("Stored. The next plan waits for you: `bms-pipeline preview`, then `bms-pipeline finish HASH`.")


def _print_remarks(foretold: Foretold) -> None:
    for problem in foretold.problems:
        say(f"[yellow]{safe(problem)}[/]")
    for word in foretold.words:
        label = f"{word.entity}.{word.field}"
        say(f"[yellow]{label}: {safe(repr(word.word))} has no word ({word.records:,} records); it is not written.[/]")
    for text in foretold.cut:
        say(f"{text.entity}.{text.field}: the text of {text.records:,} records is cut.")
    for entity, count in foretold.other_template.items():
        say(f"{count:,} {BY_NAME[entity].name} are in another template than new ones; no call moves a document.")
