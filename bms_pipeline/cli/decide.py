"""The commands of a person's review: decide about records, change settings, take a load back."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from bms_pipeline.cli.on_demand import (
    deciding,
    decisions,
    figures,
    loading,
    open_warehouse,
    read_settings,
    run_lock,
    same_names,
)
from bms_pipeline.cli.output import (
    AsJson,
    disposition_names,
    entity_names,
    me,
    print_json,
    print_table,
    safe,
    say,
    this_command,
)
from bms_pipeline.cli.printing import say_nothing_there
from bms_pipeline.core.entities import BY_NAME, Entity, chosen
from bms_pipeline.core.errors import SettingsError
from bms_pipeline.core.vocabulary import WAITS_FOR_DECISION, Disposition, Verb

if TYPE_CHECKING:
    from bms_pipeline.core.settings import Settings
    from bms_pipeline.reconcile.comparison import DispositionChange
    from bms_pipeline.reconcile.decisions import Decision, DecisionResult, Selection
    from bms_pipeline.spreadsheet.agreement import Pair

app = typer.Typer()
settings_app = typer.Typer(help="The sync settings: toggles, filters, who owns a field. Without a verb: show them.")
app.add_typer(settings_app, name="settings", rich_help_panel="Decide")

EntityArgument = Annotated[
    str,
    typer.Argument(metavar="ENTITY", autocompletion=entity_names, help=f"One of {', '.join(BY_NAME)}."),
]
EntitiesArgument = Annotated[
    list[str] | None, typer.Argument(metavar="ENTITY", autocompletion=entity_names, help="Only these; default all.")
]
LARGEST_ID = 2**63 - 1
"""The largest id that a table holds."""


def parse_id(text: str) -> int:
    """Return an id of BMS as a number; for anything else, such as a name, say where ids are shown."""
    if not (text.isascii() and text.isdigit() and int(text) <= LARGEST_ID):
        raise typer.BadParameter(
            f"{text!r} is no id of BMS, a number. `bms-pipeline suggest ENTITY` shows ids and names."
        )
    return int(text)


Id = Annotated[int, typer.Argument(metavar="ID", parser=parse_id, help="The record's id in BMS.")]
Ids = Annotated[
    list[int] | None, typer.Argument(metavar="ID", parser=parse_id, help="Ids in BMS; or choose by the options below.")
]
LostIds = Annotated[
    list[int],
    typer.Argument(metavar="ID", parser=parse_id, help="The records' ids in BMS, as `pending-imports` lists them."),
]
DispositionOption = Annotated[
    str,
    typer.Option(
        "--disposition",
        autocompletion=disposition_names,
        help=f"Those with this disposition: {', '.join(Disposition)}.",
    ),
]
Reason = Annotated[str, typer.Option(help="Those with this reason code, as `preview` shows it.")]
Client = Annotated[int | None, typer.Option(help="Those of this client, by its BMS account id.")]
Name = Annotated[str, typer.Option(help="Those with this in their name.")]
Why = Annotated[str, typer.Option(help="A note that stays with the decision.")]
By = Annotated[str | None, typer.Option(help="Who decides, for the record; default: you.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what it would change, and change nothing.")]
AllowDuplicate = Annotated[
    bool, typer.Option("--allow-duplicate", help="Also where Passportal has one of the same or nearly the same name.")
]


@app.command("auto-match", rich_help_panel="Decide")
def auto_match(
    entity: EntitiesArgument = None, by: By = None, dry_run: DryRun = False, as_json: AsJson = False
) -> None:
    """Make every match lasting that the rules found: identical names, serial numbers, markers."""
    _all("auto_match", entity, by, dry_run, as_json)


@app.command("create-unmatched", rich_help_panel="Decide")
def create_unmatched(
    entity: EntitiesArgument = None, by: By = None, dry_run: DryRun = False, as_json: AsJson = False
) -> None:
    """Decide that all that waits for nothing but a decision be created. What is ambiguous still waits."""
    _all("create_unmatched", entity, by, dry_run, as_json)


@app.command(rich_help_panel="Decide")
def match(
    entity: EntityArgument,
    bms_id: Id,
    passportal_id: Annotated[str, typer.Argument(metavar="PASSPORTAL_ID", help="Its record in Passportal.")],
    branch: Annotated[
        bool,
        typer.Option("--branch", help="Link one more account to a client that another account is matched to already."),
    ] = False,
    why: Why = "",
    by: By = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Decide that a record of BMS and one of Passportal are the same. `suggest` lists candidates."""
    verb = Verb.BRANCH if branch else Verb.MATCH
    _decide([decisions.Decision(verb, _entity(entity).name, bms_id, passportal_id, why=why)], by, dry_run, as_json)


@app.command(rich_help_panel="Decide")
def unmatch(
    entity: EntityArgument,
    bms_id: Ids = None,
    disposition: DispositionOption = "",
    reason: Reason = "",
    client: Client = None,
    name: Name = "",
    why: Why = "",
    by: By = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Take records apart from what they are matched to. No rule matches the two again; both stay where they are."""
    chosen_ids = _selected(entity, decisions.Selection(tuple(bms_id or ()), disposition, reason, client or 0, name))
    _decide(
        [decisions.Decision("unmatch", entity, chosen_id, why=why) for chosen_id in chosen_ids], by, dry_run, as_json
    )


@app.command(rich_help_panel="Decide")
def create(
    entity: EntityArgument,
    bms_id: Ids = None,
    allow_duplicate: AllowDuplicate = False,
    disposition: DispositionOption = "",
    reason: Reason = "",
    client: Client = None,
    name: Name = "",
    why: Why = "",
    by: By = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Decide that records be created in Passportal. The next finish does it."""
    chosen_ids = _selected(entity, decisions.Selection(tuple(bms_id or ()), disposition, reason, client or 0, name))
    _decide(
        [
            decisions.Decision(Verb.CREATE, entity, chosen_id, allow_duplicate=allow_duplicate, why=why)
            for chosen_id in chosen_ids
        ],
        by,
        dry_run,
        as_json,
    )


@app.command(rich_help_panel="Decide")
def exclude(
    entity: EntityArgument,
    bms_id: Ids = None,
    disposition: DispositionOption = "",
    reason: Reason = "",
    client: Client = None,
    name: Name = "",
    why: Why = "",
    by: By = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Leave records out of the sync until they are included again. Matches are kept for then."""
    chosen_ids = _selected(entity, decisions.Selection(tuple(bms_id or ()), disposition, reason, client or 0, name))
    _decide(
        [decisions.Decision("exclude", entity, chosen_id, why=why) for chosen_id in chosen_ids], by, dry_run, as_json
    )


@app.command(rich_help_panel="Decide")
def include(
    entity: EntityArgument,
    bms_id: Ids = None,
    as_create: Annotated[bool, typer.Option("--create", help="And decide that they be created.")] = False,
    as_match: Annotated[str | None, typer.Option("--match", metavar="PASSPORTAL_ID", help="And match it.")] = None,
    allow_duplicate: AllowDuplicate = False,
    reason: Reason = "",
    client: Client = None,
    name: Name = "",
    why: Why = "",
    by: By = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Take records back from the excluded ones: as they were, or at once as create or as match."""
    chosen_ids = _selected(
        entity,
        decisions.Selection(tuple(bms_id or ()), "" if bms_id else Disposition.EXCLUDED, reason, client or 0, name),
    )
    _decide(
        decisions.including(
            entity, chosen_ids, create=as_create, allow_duplicate=allow_duplicate, match_to=as_match, why=why
        ),
        by,
        dry_run,
        as_json,
    )


@app.command(rich_help_panel="Decide")
def suggest(entity: EntityArgument, bms_id: Ids = None, as_json: AsJson = False) -> None:
    """Show candidates for unmatched and ambiguous records: the score, and which fields agree."""
    settings = read_settings()
    found = deciding.suggest(open_warehouse(settings), _entity(entity), bms_id)
    if as_json:
        print_json({bms: asdict(record) for bms, record in found.items()})
        return
    for suggested in found.values():
        say(f"[bold]{suggested.bms_id} {safe(suggested.name)}[/]  {suggested.disposition} ({suggested.reason})")
        for candidate in suggested.suggestions:
            evidence = ", ".join(
                f"{clue.field} {clue.agreement}" for clue in candidate.evidence if clue.agreement != "missing"
            )
            say(f"  {candidate.score:.2f}  {safe(candidate.passportal_id)}  {safe(candidate.name)}  [dim]{evidence}[/]")
        if not suggested.suggestions:
            say("  [dim]nothing like it in Passportal[/]")
    if not found:
        say_nothing_there(settings, "Nothing waits for a decision.")


@app.command("export", rich_help_panel="Decide")
def export_file(
    entity: EntityArgument,
    file: Annotated[Path, typer.Argument(help="A .csv or .xlsx file, which is replaced.")],
    disposition: Annotated[
        list[str] | None,
        typer.Option(autocompletion=disposition_names, help="Repeat for more; default: unmatched and ambiguous."),
    ] = None,
) -> None:
    """Write what waits for a decision into a spreadsheet, with suggestions; fill its columns and `import` it."""
    settings, dispositions = read_settings(), tuple(disposition or WAITS_FOR_DECISION)
    rows = deciding.export_file(open_warehouse(settings), _entity(entity), file, dispositions)
    if not rows:
        listed = " or ".join(map(str, dispositions))
        say_nothing_there(settings, f"No {safe(entity)} are {safe(listed)}. {safe(file)} has only its headings.")
        return
    say(f"{rows:,} {entity} in {safe(file)}. Fill the column decision ({', '.join(Verb)}), for match and")
    say(f"branch also match_to; then `bms-pipeline import {safe(file)}` shows what that changes.")


@app.command("import", rich_help_panel="Decide")
def import_file(
    file: Annotated[Path, typer.Argument(help="A filled export, or any .csv or .xlsx with entity, bms_id, decision.")],
    apply: Annotated[
        bool, typer.Option("--apply", help="Take the decisions. Without it they are only checked.")
    ] = False,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Check a spreadsheet of decisions as a whole and show what it changes; exit code 2 while that is not applied."""
    settings = read_settings()
    with run_lock.running(settings, this_command()):
        taken = deciding.import_file(open_warehouse(settings), file, by or me(), dry_run=not apply)
    if not as_json:
        for note in taken.notes:
            say(f"[yellow]Note:[/] {safe(note)}")
        for pair in taken.pairs:
            say(_paired(pair))
    _tell(taken, as_json, dry_run=not apply)
    if not apply and taken.taken:
        if not as_json:
            say(f"Nothing is applied so far. To apply it: `bms-pipeline import {safe(file)} --apply`.")
        raise typer.Exit(2)


@app.command("decisions", rich_help_panel="Decide")
def list_decisions(
    entity: Annotated[str | None, typer.Option(autocompletion=entity_names, help="Only this entity.")] = None,
    bms_id: Annotated[int | None, typer.Option("--id", help="Only this record.")] = None,
    limit: Annotated[int, typer.Option(help="The newest, this many at most.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show who decided what when, newest first: the ledger."""
    settings = read_settings()
    rows = figures.decisions(open_warehouse(settings), entity, bms_id, limit)
    if as_json:
        print_json(rows)
        return
    if not rows:
        is_filtered = entity is not None or bms_id is not None
        say_nothing_there(settings, "No decision matches these options." if is_filtered else "No decision so far.")
        return
    columns = ("decided (UTC)", "by", "decision", "before → after", "why")
    shown = [
        (
            row["decided_at"], row["decided_by"], f"{row['verb']} {row['entity']} {row['bms_id']}",
            f"{row['was'] or ''} → {row['became'] or ''}", row["why"],
        )
        for row in rows
    ]  # fmt: skip
    print_table("Decisions, newest first", columns, shown)


@app.command(rich_help_panel="Decide")
def undo(
    plan: Annotated[
        str | None, typer.Argument(help="The number or hash of a loaded plan; without it: list them.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Plan to take back what a load wrote: updated fields, adopted records. `finish` then does it; exit code 2."""
    settings = read_settings()
    loads = figures.loads(open_warehouse(settings))
    if plan is None:
        _print_loads(settings, loads, as_json)
        return
    plan_id = _plan_id(loads, plan)
    with run_lock.running(settings, this_command()):
        undoing = deciding.plan_undo(open_warehouse(settings), plan_id)
    shown = figures.undo_preview(open_warehouse(settings), undoing)
    if as_json:
        print_json(shown)
    else:
        say(f"Plan {undoing.hash[:12]} takes back plan {plan_id}: {undoing.operations:,} records.")
        say(f"  {shown['created']:,} created records stay in Passportal; disable them there if they should go.")
        say(f"  {shown['kept']:,} fields changed in Passportal since and are left alone; {shown['gone']:,} records are")
        say("  gone from BMS and are left alone too.")
        say(f"Look at it with `bms-pipeline preview --saved`, then `bms-pipeline finish {undoing.hash[:12]}`.")
    if undoing.operations:
        raise typer.Exit(2)


def _plan_id(loads: list[dict[str, Any]], plan: str) -> int:
    """Return the number of the plan that a person named by its number, or by the beginning of its hash."""
    if plan.isascii() and plan.isdigit() and int(plan) <= LARGEST_ID:
        return int(plan)
    found = [load["plan_id"] for load in loads if len(plan) >= 8 and load["hash"].startswith(plan)]
    if len(found) != 1:
        raise typer.BadParameter(f"{plan!r} is the number or hash of no load. `bms-pipeline undo` lists them.")
    return int(found[0])


@app.command("discard-plan", rich_help_panel="Decide")
def discard_plan(
    plan_hash: Annotated[
        str, typer.Argument(metavar="[HASH]", help="The plan's hash, as a check; without it: the current plan.")
    ] = "",
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Discard the current plan, so nobody can load it. What was loaded stays, and the next sync makes a new plan."""
    settings = read_settings()
    with run_lock.running(settings, this_command()):
        plan = deciding.discard_plan(open_warehouse(settings), plan_hash, by or me())
    if as_json:
        print_json({"hash": plan.hash, "discarded_at": plan.discarded_at, "discarded_by": plan.discarded_by})
        return
    say(f"Plan {plan.hash[:12]} is discarded ({safe(plan.discarded_by)}, {plan.discarded_at:%Y-%m-%d %H:%M} UTC).")
    say("The next sync makes a new plan, also of the same changes: exclude records that must not be loaded.")


@settings_app.callback(invoke_without_command=True)
def show_settings(context: typer.Context, as_json: AsJson = False) -> None:
    """Show the sync settings."""
    if context.invoked_subcommand:
        return
    shown = figures.sync_settings(open_warehouse(read_settings()))
    if as_json:
        print_json(shown)
        return
    shown["account_types"] = shown["account_types"] or "those that BMS calls clients"
    print_table("Sync settings", ("setting", "value"), [(name, _worded(value)) for name, value in shown.items()])
    say("Change them with `bms-pipeline settings set NAME=VALUE ...`; add --dry-run to see what that would change.")


@settings_app.command("set")
def set_settings(
    change: Annotated[list[str], typer.Argument(metavar="NAME=VALUE", help="e.g. auto_create.users=on")],
    why: Why = "",
    by: By = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Change settings, all or none, and show what that changes. Values: on, off, all, or a list a,b,c."""
    wanted = dict(text.partition("=")[::2] for text in change)
    if not all("=" in text for text in change):
        raise SettingsError("A change is NAME=VALUE, without blanks around the sign.", "e.g. auto_create.users=on")
    settings = read_settings()
    with run_lock.running(settings, this_command()):
        changed = deciding.change_settings(open_warehouse(settings), wanted, by or me(), why, dry_run=dry_run)
    if as_json:
        print_json(asdict(changed))
        return
    for setting in changed.settings:
        say(f"{safe(setting.name)}: {safe(_worded(setting.before))} → {safe(_worded(setting.after))}")
    if not changed.settings:
        say("No change: these settings are already set.")
    for inside in changed.scope:
        out = ", ".join(f"{count:,} {reason}" for reason, count in inside.kept_out_because.items())
        say(f"  {inside.entity}: {inside.records_in:,} in, {inside.records_out:,} out{f' ({out})' if out else ''}")
    _print_changes(changed.records)
    if dry_run:
        say("Nothing is stored: this was a try.")


@settings_app.command("history")
def settings_history(as_json: AsJson = False) -> None:
    """Show who changed which setting when, newest first."""
    rows = figures.settings_history(open_warehouse(read_settings()))
    if as_json:
        print_json(rows)
        return
    if not rows:
        say("No setting was changed so far. `bms-pipeline settings` shows all of them.")
        return
    columns = ("changed (UTC)", "by", "setting", "before → after", "why")
    shown = [
        (
            row["changed_at"], row["changed_by"], row["name"],
            _in_short(_stored(row["before"]), _stored(row["after"])), row["why"],
        )
        for row in rows
    ]  # fmt: skip
    print_table("Changes of settings, newest first", columns, shown)


def _in_short(before: object, after: object) -> str:
    """Return the change of a setting in words; of one with parts, such as the mapping, only the parts that differ."""
    if not isinstance(after, dict):
        return f"{_worded(before)} → {_worded(after)}"
    was, now = (_parts(value) for value in (before or {}, after))
    changed = [name for name in {**was, **now} if was.get(name) != now.get(name)]
    return "; ".join(f"{name}: {was.get(name, 'not set')} → {now.get(name, 'not set')}" for name in changed)


def _parts(value: object, name: str = "") -> dict[str, object]:
    """Return the dotted name of each part of a setting → its value."""
    if not isinstance(value, dict):
        return {name: value}
    parts: dict[str, object] = {}
    for key, part in value.items():
        parts |= _parts(part, f"{name}.{key}".lstrip("."))
    return parts


@app.command("pending-imports", rich_help_panel="Decide")
def pending_imports(
    as_json: AsJson = False,
    save: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write the files that nobody imported yet into FOLDER.")
    ] = None,
) -> None:
    """List what went into files for an import, because Passportal's API cannot create it, and how each stands."""
    settings = read_settings()
    rows = figures.pending_imports(open_warehouse(settings))
    if save is not None:
        waiting = dict.fromkeys(row["file"] for row in rows if row["state"] == "handed over")
        for file in loading.save_import_files(settings, waiting, save):
            say(f"Written: {safe(file)}")
    if as_json:
        print_json(rows)
        return
    if not rows:
        say_nothing_there(settings, "No record waits for an import.")
        return
    columns = ("record", "name", "file", "since (UTC)", "state")
    shown = [
        (
            f"{row['entity']} {row['bms_id']}", row["name"], row["file"], row["handed_over_at"],
            f"{row['state']}{' (overdue)' if row['overdue'] else ''}",
        )
        for row in rows
    ]  # fmt: skip
    print_table("Handed over in files for an import", columns, shown)
    place = loading.place_of_import_files(settings)
    say(f"The files are in {safe(place or os.path.relpath(settings.import_folder))}.")


@app.command("reissue-import", rich_help_panel="Decide")
def reissue_import(entity: EntityArgument, bms_id: LostIds, by: By = None) -> None:
    """Let the next plan hand these records over in a new file, because theirs was lost before its import.

    Refused for what Passportal lists already: an import never looks at what is there.
    """
    settings = read_settings()
    with run_lock.running(settings, this_command()):
        deciding.reissue_import(open_warehouse(settings), _entity(entity), bms_id, by or me())
    say("The next plan hands them over in a new file.")


@app.command("retry", rich_help_panel="Decide")
def retry(
    entity: Annotated[
        str | None, typer.Argument(metavar="[ENTITY]", autocompletion=entity_names, help="Without it: list them.")
    ] = None,
    bms_id: Annotated[
        list[int] | None, typer.Argument(metavar="[ID]", parser=parse_id, help="Only these, by their ids in BMS.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List what Passportal refused and is not sent again, or let the next sync send it once more."""
    settings = read_settings()
    rows = figures.refused_values(open_warehouse(settings))
    if entity is None:
        _print_refused(settings, rows, as_json)
        return
    name = _entity(entity).name
    with run_lock.running(settings, this_command()):
        records = deciding.retry(open_warehouse(settings), {name: bms_id or None})
    if as_json:
        print_json({"records": records})
        return
    say(f"The next sync sends {records:,} {name} again." if records else f"Nothing refused of these {name} is held.")


def _print_refused(settings: Settings, rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print_json(rows)
        return
    if not rows:
        say_nothing_there(settings, "Passportal refused nothing that is still to be sent.")
        return
    columns = ("record", "name", "fields", "refused since (UTC)", "in Passportal's words")
    shown = [
        (
            f"{row['entity']} {row['bms_id']}", row["name"], ", ".join(row["fields"] or ()), row["refused_at"],
            row["detail"] or f"not sent: its template requires {', '.join(row['needs'] or ())}",
        )
        for row in rows
    ]  # fmt: skip
    print_table("Refused by Passportal, and not sent again until something changes", columns, shown)
    say("`bms-pipeline retry ENTITY [ID]` sends them with the next sync all the same.")


@app.command("duplicates", rich_help_panel="Decide")
def duplicates(
    as_json: AsJson = False,
    by_name: Annotated[
        bool, typer.Option("--names", help="Those with the same name in their client instead, and which one to keep.")
    ] = False,
    csv: Annotated[Path | None, typer.Option(help="With --names: also write them into this file.")] = None,
) -> None:
    """List records of Passportal that carry the same BMS id, as the last sync found them."""
    settings = read_settings()
    if by_name:
        _list_same_names(settings, csv, as_json)
        return
    rows = figures.duplicate_records(open_warehouse(settings))
    if as_json:
        print_json(rows)
        return
    if not rows:
        say_nothing_there(settings, "No two records of Passportal carry the same BMS id.")
        return
    columns = ("record", "passportal id", "client id", "name", "linked")
    shown = [
        (
            f"{row['entity']} {row['bms_id']}", row["passportal_id"], row["client_id"], row["name"],
            "yes" if row["is_matched"] else "",
        )
        for row in rows
    ]  # fmt: skip
    print_table("Records of Passportal that share a BMS id", columns, shown)
    say("`bms-pipeline keep ENTITY BMS_ID PASSPORTAL_ID` says which one keeps it.")


def _list_same_names(settings: Settings, csv: Path | None, as_json: bool) -> None:
    warehouse = open_warehouse(settings)
    rows = same_names.same_names(warehouse)
    if as_json:
        print_json(rows)
    elif rows:
        columns = ("client", "name", "passportal id", "fields filled", "last modified", "linked to", "suggestion")
        shown = [
            (
                row["client"], f"{row['entity']}: {row['name']}", row["passportal_id"], f"{row['filled']:,}",
                row["last_modified"], row["linked_to"], "keep" if row["is_suggested"] else "",
            )
            for row in rows
        ]  # fmt: skip
        print_table("Records of Passportal that share a name in their client", columns, shown)
        say("Merge or delete them in Passportal; nothing is merged from here.")
    else:
        say_nothing_there(settings, "No two records of Passportal share a name in their client.")
    if csv is not None:
        say(f"{same_names.write_same_names(warehouse, csv):,} records in {safe(str(csv))}")


@app.command(rich_help_panel="Decide")
def keep(
    entity: EntityArgument,
    bms_id: Annotated[
        int, typer.Argument(metavar="BMS_ID", parser=parse_id, help="The id that several records carry.")
    ],
    passportal_id: Annotated[str, typer.Argument(metavar="PASSPORTAL_ID", help="The record that keeps it.")],
    by: By = None,
) -> None:
    """Let one of several records of Passportal keep a BMS id. The others stay, and lose the id with the next finish."""
    settings = read_settings()
    with run_lock.running(settings, this_command()):
        losing = deciding.keep(open_warehouse(settings), _entity(entity), bms_id, passportal_id, by or me())
    say(f"{safe(passportal_id)} keeps the id. With the next finish it is taken off {safe(', '.join(losing))}.")


def _print_loads(settings: Settings, loads: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print_json(loads)
        return
    if not loads:
        say_nothing_there(settings, "No load so far, so there is nothing to undo.")
        return
    columns = ("plan", "hash", "loaded (UTC)", "by", "created", "adopted", "updated")
    rows = [
        (
            f"{load['plan_id']}" + (f" (takes back {load['undoes']})" if load["undoes"] is not None else ""),
            load["hash"][:12], load["loaded_at"], load["approved_by"],
            load["created"], load["adopted"], load["updated"],
        )
        for load in loads
    ]  # fmt: skip
    print_table("Loads, newest first", columns, rows, numbers=columns[4:])
    say("`bms-pipeline undo PLAN` plans to take one back, by its number or hash.")


def _entity(name: str) -> Entity:
    (entity,) = chosen([name])
    return entity


def _selected(entity: str, selection: Selection) -> list[int]:
    return deciding.select(open_warehouse(read_settings()), _entity(entity), selection)


def _all(
    verb: Literal["auto_match", "create_unmatched"],
    names: list[str] | None,
    by: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    settings = read_settings()
    with run_lock.running(settings, this_command()):
        taken = deciding.decide_all(open_warehouse(settings), verb, chosen(names), by or me(), dry_run=dry_run)
    if as_json:
        print_json({name: asdict(result) for name, result in taken.items()})
        return
    if not any(result.taken for result in taken.values()):
        say_nothing_there(settings, "Nothing to decide.")
        return
    for name, result in taken.items():
        say(f"{name}: {result.taken:,} {'would be decided' if dry_run else 'decided'}.")
    _print_changes([change for result in taken.values() for change in result.changes])


def _decide(decided: list[Decision], by: str | None, dry_run: bool, as_json: bool) -> None:
    settings = read_settings()
    with run_lock.running(settings, this_command()):
        taken = deciding.decide(open_warehouse(settings), decided, by or me(), dry_run=dry_run)
    _tell(taken, as_json, dry_run=dry_run)


def _tell(taken: DecisionResult, as_json: bool, *, dry_run: bool) -> None:
    if as_json:
        print_json(asdict(taken))
        return
    say(f"{taken.taken:,} {'would be decided' if dry_run else 'decided'}, {taken.already:,} held already.")
    _print_changes(taken.changes)


def _paired(pair: Pair) -> str:
    """Return a decision of a file on one line, by the names of both records."""
    inside = f" of {safe(pair.client)}" if pair.client else ""
    partner = f" → {safe(pair.passportal_id)} [bold]{safe(pair.passportal_name)}[/]" if pair.passportal_id else ""
    record = f"{pair.bms_id} [bold]{safe(pair.name)}[/]{inside}"
    return f"line {pair.line}: {pair.verb} {BY_NAME[pair.entity].singular} {record}{partner}"


def _print_changes(changes: list[DispositionChange]) -> None:
    if changes:
        print_table(
            "What changed",
            ("entity", "before → after", "records", "e.g."),
            [
                (change.entity, f"{change.was} → {change.becomes}", change.records, "; ".join(change.examples))
                for change in changes
            ],
            numbers=("records",),
        )


def _stored(text: str | None) -> object:
    """Return a setting from its JSON in the history."""
    return None if text is None else json.loads(text)


def _worded(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "all" if value is None else str(value)
