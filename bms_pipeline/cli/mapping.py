"""The commands ``mapping``: show, export, try and store where the values of BMS lie in Passportal."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bms_pipeline.cli.on_demand import figures, mapping, open_warehouse, read_settings, run_lock
from bms_pipeline.cli.output import AsJson, me, print_json, print_table, safe, say, this_command
from bms_pipeline.core.entities import BY_NAME, ENTITIES, Entity, EntityName, chosen, keys_of
from bms_pipeline.core.errors import SettingsError
from bms_pipeline.core.files import atomic_write
from bms_pipeline.core.mapping import FieldRule, Mapping, word_of
from bms_pipeline.core.mapping_parsing import parse_mapping

if TYPE_CHECKING:
    from bms_pipeline.sync.mapping import FieldForetold, Foretold

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


@app.command("keys")
def show_keys(
    entity: Annotated[
        str | None, typer.Argument(metavar="[ENTITY]", help="Only these: locations, contacts, assets.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the documented keys of BMS that are no field, and that a mapping may give a label."""
    keys = {found.name: keys_of(found) for found in chosen([entity] if entity else None) if found.has_client}
    if as_json:
        print_json(keys)
        return
    for name, kinds in keys.items():
        print_table(name.capitalize(), ("key", "kind"), sorted((key, kind) for key, kind in kinds.items()))


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


@app.command("clear-old")
def clear_old(
    yes: Annotated[bool, typer.Option("--yes", help="Store it; without it nothing is stored.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would do; store nothing.")] = False,
    why: Annotated[str, typer.Option(help="Why, for the history.")] = "",
    by: Annotated[str | None, typer.Option(help="Who decides it, for the history; default: you.")] = None,
    as_json: AsJson = False,
) -> None:
    """Blank old labels of the mapping, where they still hold exactly what a load wrote.

    The labels become part of the mapping. The next plan shows each text, and a person finishes it by its hash. Exit
    code 2: nothing is stored, because --yes is missing.
    """
    settings = read_settings()
    warehouse = open_warehouse(settings)
    with run_lock.running(settings, this_command()):
        foretold = mapping.clear_old(settings, warehouse, by or me(), why, dry_run=dry_run or not yes)
    if as_json:
        print_json(foretold)
    else:
        _print_foretold(foretold, dry_run=dry_run or not yes)
    if not (dry_run or yes):
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
        with open_warehouse(settings).open() as connection:
            unplaced = sum(row.records for row in figures.values_without_place(connection))
        if unplaced:
            say(
                f"{unplaced:,} values have no place in their templates and are not written."
                " `bms-pipeline preview --saved` lists them, `bms-pipeline mapping suggest` finds their labels."
            )
        elif not (found.problems or found.words or found.cut or found.other_template):
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
    names = stored.names(entity)
    for column in stored.entity(entity).columns[1:]:
        rule = stored.rule(entity, column)
        elsewhere = [
            f"{stored.label(entity, column, template) or 'left out'} in template {template}"
            for template in stored.exceptions(entity)
            if stored.label(entity, column, template) != stored.label(entity, column)
        ]
        is_set = "; ".join(filter(None, [_in_words(rule), *elsewhere]))
        shown = column if column in entity.columns else names[column]
        rows.append((shown, stored.label(entity, column) or "(left out)", is_set))
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
        "inactive": rule.inactive and f"{rule.inactive!r} once inactive in BMS",
        "active": rule.active and f"{rule.active!r} if active and without a value",
        "clears": rule.clears and "blanked where it still holds what a load wrote",
        "link": rule.link and f"a link to {rule.link}, by id",
    }
    return "; ".join(part for part in parts.values() if part)


def _print_foretold(foretold: Foretold, *, dry_run: bool) -> None:
    if foretold.is_same:
        say("No change: this mapping is stored already.")
        return
    for entity, documents in foretold.documents.items():
        say(f"{documents:,} documents of {entity} are read again by the next sync, one call each.")
    for entity, reading in foretold.details.items():
        say(
            f"{reading.calls:,} details of {entity} are read again for the new keys, one call each:"
            f" about {reading.hours:,} h, next to the syncs."
        )
    for name, reading in foretold.lists.items():
        say(f"The next sync reads the whole list {name} once, for the new keys: about {reading.calls:,} calls.")
    if foretold.changes:
        _print_changes(foretold.changes)
    if unread := [
        f"{change.entity}.{_word(change.entity, change.field)}" for change in foretold.changes if change.is_unread
    ]:
        say(f"Not read so far: {', '.join(unread)}. Only a plan after the next sync knows what is filled.")
    if foretold.documents:
        say("What stands in those documents under the new labels is not read yet: it counts as empty here. So filled is"
            " the most it can be, and records may match that do not now.")  # fmt: skip
    _print_remarks(foretold)
    if dry_run:
        say("Nothing is stored: this was a try.")
    else:
        say("Stored. The next plan waits for you: `bms-pipeline preview`, then `bms-pipeline finish HASH`.")


def _print_changes(changes: list[FieldForetold]) -> None:
    """Print what happens to each field, without the columns that are 0 for all of them."""
    counted = {
        "filled": [change.filled for change in changes],
        "our text renewed": [change.followed for change in changes],
        "overwritten": [change.overwritten for change in changes],
        "differ and stay": [change.kept for change in changes],
        "no place": [change.no_place for change in changes],
    }
    shown = {title: numbers for title, numbers in counted.items() if any(numbers) or title == "filled"}
    names = [
        (f"{change.entity}.{_word(change.entity, change.field)}", change.label or "(left out)") for change in changes
    ]
    rows = [(*name, *numbers) for name, *numbers in zip(names, *shown.values(), strict=True)]
    print_table("What the next plan does, in records", ("field", "label", *shown), rows, numbers=list(shown))


def _word(entity: EntityName, column: str) -> str:
    return word_of(BY_NAME[entity], column)


def _print_remarks(foretold: Foretold) -> None:
    for problem in foretold.problems:
        say(f"[yellow]{safe(problem)}[/]")
    for word in foretold.words:
        label = f"{word.entity}.{_word(word.entity, word.field)}"
        say(f"[yellow]{label}: {safe(repr(word.word))} has no word ({word.records:,} records); it is not written.[/]")
    for text in foretold.cut:
        say(f"{text.entity}.{_word(text.entity, text.field)}: the text of {text.records:,} records is cut.")
    for entity, count in foretold.other_template.items():
        say(f"{count:,} {BY_NAME[entity].name} are in another template than new ones; no call moves a document.")
