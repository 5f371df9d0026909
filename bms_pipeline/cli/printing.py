"""What the commands of a sync print: counts, remarks, the plan, a record's story, and where to look next."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer
import typer.exceptions
from rich.markup import escape
from rich.table import Table

from bms_pipeline.cli.on_demand import (
    figures,
    journal,
    kept_open,
    loading,
    open_warehouse,
    plan_preview,
    planning,
    standings,
    stories,
)
from bms_pipeline.cli.output import (  # fmt: skip
    err,
    out,
    print_json,
    print_table,
    say,
    terminal_text,
)
from bms_pipeline.core.entities import BY_NAME
from bms_pipeline.core.errors import PlanError
from bms_pipeline.core.vocabulary import Operation, words

if TYPE_CHECKING:
    from bms_pipeline.core.settings import Settings
    from bms_pipeline.plan.operations import Plan
    from bms_pipeline.reports.read_models import (
        NoPlace,
        PendingImports,
        PlanOverview,
        Status,
        UnknownWrites,
    )
    from bms_pipeline.reports.stories import FullStory
    from bms_pipeline.sync.enrichment import DetailsLeft
    from bms_pipeline.warehouse.connection import Warehouse


_DETAILS_LABELS = {
    "unlanded": "more read and landing with the next sync",
    "waiting": "waiting",
    "problems": "with a problem (`explain` tells)",
}


@dataclass(frozen=True)
class _Ended:
    """The state after a run: the status, the writes without answer, and the current plan."""

    status: Status
    unknown: list[journal.Open]
    plan: Plan


def how_it_ended(settings: Settings) -> _Ended:
    """Read everything shown after a run, so no other process waits for the warehouse during the printing."""
    warehouse = open_warehouse(settings)
    with kept_open():
        return _Ended(
            figures.status(settings, warehouse), loading.unknown_writes(warehouse), planning.current_plan(warehouse)
        )


def print_status(settings: Settings, shown: Status, as_json: bool, seconds: float | None) -> None:
    """Print the state after a run, by outcome and by standing, or as JSON."""
    if as_json:
        print_json(shown)
        return
    if settings.bms_pipeline_name:
        out.print(f"Tenant {settings.bms_pipeline_name}", highlight=False)
    rare = (*standings.RARE, "pending")
    _print_counts("The last sync, by outcome. Read is the sum of the others", shown.entities, figures.COUNTS, rare)
    _print_counts("How the records stand now", shown.standings, tuple(standings.Standing), rare)
    print_remarks(shown)
    if seconds is not None:
        out.print(f"Took {seconds:.1f} s.", highlight=False)
    _print_next(settings, shown)


def say_nothing_there(settings: Settings, text: str) -> None:
    """Print that a list is empty, and where nothing was read yet, the way to begin."""
    say(text)
    if not figures.is_anything_read(settings):
        say_how_to_begin(settings)


def say_how_to_begin(settings: Settings) -> None:
    """Print the next command for a home folder without any records."""
    from bms_pipeline.core.settings import missing_settings, needed_settings

    missing = missing_settings(settings, needed_settings(settings))
    if missing:
        say(f"Nothing is connected yet: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set.")
        say("Set them in .env in this folder or on the page Set-up of [bold]bms-pipeline console[/]. To try a made-up"
            " tenant first: [bold]bms-pipeline sandbox run -- bms-pipeline preview[/].")  # fmt: skip
    else:
        say("Nothing is read yet. Begin with [bold]bms-pipeline preview[/]: it reads BMS and Passportal and changes"
            " nothing.")  # fmt: skip


def warn_of_approved_plan(warehouse: Warehouse) -> None:
    """Warn where an approved plan was left in the middle and is about to be replaced."""
    with suppress(PlanError):
        plan = planning.current_plan(warehouse)
        if plan.approved and not plan.loaded and not plan.discarded:
            err.print(
                f"Plan {plan.hash[:12]} was approved, and its load was interrupted. This preview replaces it."
                f" `bms-pipeline finish {plan.hash[:12]}` would go on with it (Ctrl-C now keeps it).",
                highlight=False,
            )


def exit_with_2_unless_done(settings: Settings, ended: _Ended) -> None:
    """Exit with 2 where the load left something open, after a message about it."""
    unknown, plan = ended.unknown, ended.plan
    if unknown:
        writes, until = sum(intent.writes for intent in unknown), journal.settles_at(unknown, settings.unknown_seconds)
        err.print(
            f"The answer to {writes:,} writes was lost, so it is unknown whether they took effect. Nothing was sent"
            f" twice.\nRun the same command again after {until:%H:%M:%S} UTC: it looks them up and goes on.",
            highlight=False,
        )
    elif plan.approved and not plan.loaded and not plan.discarded:
        err.print("A part of the plan is still to be loaded. Run the same command again.", highlight=False)
    else:
        return
    raise typer.Exit(2)


def _print_counts(
    title: str, counts: Mapping[str, Mapping[Any, int | None]], names: Sequence[str], only_where_any: Sequence[str]
) -> None:
    """Print a table with a column for each entity; a row of ``only_where_any`` is left out while it is empty."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for entity in counts:
        table.add_column(entity, justify="right")
    for name in names:
        numbers = [counted[name] for counted in counts.values()]
        if name in only_where_any and not any(numbers):
            continue
        is_sum = name == "read"
        shown = [f"{number:,}" if number else "·" for number in numbers]
        table.add_row(words(name), *shown, style="bold" if is_sum else "", end_section=is_sum)
    out.print(table)


def print_remarks(shown: Status) -> None:
    """Print warnings, and counts that call for an action."""
    for warning in shown.warnings:
        out.print(f"[yellow]{escape(terminal_text(warning))}[/]", highlight=False)
    orphaned = {entity: counts for entity, counts in shown.entities.items() if counts["orphaned"]}
    if orphaned:
        listed = ", ".join(
            f"{counts['orphaned']:,} {entity} (oldest: {counts['oldest_orphan_days']:,} days)"
            for entity, counts in orphaned.items()
        )
        text = f"Gone from BMS and kept in Passportal: {listed}. `bms-pipeline orphans` lists them."
        out.print(text, highlight=False, soft_wrap=True)
    if shown.details.wanted:
        out.print(_details_line(shown.details), highlight=False)
    if shown.unknown:
        out.print(_unknown_line(shown.unknown), highlight=False, soft_wrap=True)
    if shown.duplicates:
        out.print(
            f"[yellow]{shown.duplicates:,} BMS ids stand on several records of Passportal.[/]"
            " `bms-pipeline duplicates` lists them; `bms-pipeline keep` says which record keeps its id.",
            highlight=False,
            soft_wrap=True,
        )
    _print_no_place(shown.no_place)
    if shown.hand_overs.waiting:
        out.print(_hand_overs_line(shown.hand_overs), highlight=False, soft_wrap=True)


def _print_no_place(rows: list[NoPlace]) -> None:
    """Print the values without a place in Passportal, a line for each template."""
    by_template: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        fields = by_template.setdefault((row.entity, row.template), [])
        values = "1 value" if row.records == 1 else f"{row.records:,} values"
        fields.append(f"{escape(terminal_text(row.label))} ({values})")
    for (entity, template), fields in by_template.items():
        text = (
            f"[yellow]No place in template {escape(terminal_text(template))} of {entity} for:[/] {', '.join(fields)}."
        )
        out.print(f"{text} They are not written.", highlight=False, soft_wrap=True)
    if by_template:
        text = "`bms-pipeline mapping suggest` finds the labels of your templates that these values belong under."
        out.print(text, highlight=False, soft_wrap=True)


def _unknown_line(unknown: list[UnknownWrites]) -> str:
    listed = ", ".join(f"{intent.writes:,} {intent.entity} ({intent.operation})" for intent in unknown)
    until = max(intent.settles_at for intent in unknown)
    return (
        f"[yellow]Unknown: the answer to writes was lost: {listed}.[/] They are looked up before anything is sent"
        f" again, at the latest by the first run after {until:%Y-%m-%d %H:%M:%S} UTC."
    )


def _hand_overs_line(shown: PendingImports) -> str:
    overdue = f", [yellow]{shown.overdue:,} of them overdue[/]" if shown.overdue else ""
    return (
        f"{shown.waiting:,} records wait for Passportal to list them{overdue}: import each file of"
        f" {escape(os.path.relpath(shown.folder))} once (Settings > Import / Export), then sync."
        " `bms-pipeline pending-imports` lists them."
    )


def _details_line(shown: DetailsLeft) -> str:
    parts = [f"{shown.read:,} of {shown.wanted:,} assets read"]
    counted = (getattr(shown, key) for key in _DETAILS_LABELS)
    parts += [f"{count:,} {label}" for count, label in zip(counted, _DETAILS_LABELS.values(), strict=True) if count]
    since = f", oldest of {shown.oldest_read_at:%Y-%m-%d}" if shown.oldest_read_at else ""
    return f"Details: {', '.join(parts)}{since}; {shown.finished}."


def _print_next(settings: Settings, shown: Status) -> None:
    plan = shown.plan
    if plan:
        what = f"takes back plan {plan.undoes} and waits" if plan.undoes is not None else "waits"
        stale = ", stale: make a new one with `bms-pipeline preview`" if plan.stale else ""
        waiting = plan.held_back + plan.unproved
        held_back = f", {waiting:,} of them held back for a finish" if waiting else ""
        out.print(
            f"Plan {plan.hash[:12]} {what} with {plan.operations:,} operations{held_back}{stale}. Load it with"
            f" `bms-pipeline finish {plan.hash[:12]}`.",
            highlight=False,
            soft_wrap=True,
        )
    for endpoint, calls in shown.budget.items():
        if calls["used"]:
            out.print(f"[dim]calls this hour: {calls['used']:>5} of {calls['limit']} {endpoint}[/]", highlight=False)
    command = command_here(settings)
    out.print("Where to look next:", highlight=False)
    for arguments, what in (
        ("preview --saved", "why records are unmatched, ambiguous or kept"),
        ("explain assets ID", "one record's story"),
    ):
        out.print(f"  {command} {arguments}   [dim]{what}[/]", highlight=False, soft_wrap=True)
    if not settings.bms_pipeline_lake:
        file = os.path.relpath(settings.warehouse_file)
        out.print(f"  {file}   [dim]everything, for any DuckDB client[/]", highlight=False, soft_wrap=True)


def command_here(settings: Settings) -> str:
    """Return the command to type in this folder for the same home: the demo's is not the default one."""
    home = settings.bms_pipeline_home
    chosen = (
        ""
        if home == type(settings).model_fields["bms_pipeline_home"].default
        else f"BMS_PIPELINE_HOME={os.path.relpath(home)} "
    )
    return chosen + ("bms-pipeline" if shutil.which("bms-pipeline") else os.path.relpath(sys.argv[0]))


def print_overview(shown: PlanOverview) -> None:
    """Print the current plan: how many records by reason, some of them field by field, and what waits."""
    named = f"Plan {shown.hash[:12]} ({shown.state})" if shown.operations else "Nothing to load"
    table = Table(title=f"{named}; records by reason", title_justify="left")
    for column in ("entity", "disposition", "operation", "reason"):
        table.add_column(column)
    table.add_column("records", justify="right")
    last = None
    for row in shown.reasons:
        if last not in (None, row.entity):
            table.add_section()
        last = row.entity
        style = "" if row.operation == Operation.SKIP else "bold"
        table.add_row(
            row.entity,
            words(row.disposition),
            row.operation,
            row.reason,
            f"{row.records:,}",
            style=style,
        )
    out.print(table)
    _print_breakers(shown)
    _print_no_place(shown.no_place)
    for needed in shown.needs:
        out.print(
            f"[yellow]Template {escape(terminal_text(needed.template or '?'))} of {needed.entity} requires[/]"
            f" {escape(terminal_text(needed.label))}: {needed.records:,} without a value are not created.",
            highlight=False,
            soft_wrap=True,
        )
    if shown.examples:
        out.print("Some of them, field by field:", highlight=False)
    for example in shown.examples:
        name = escape(terminal_text(example.name or "(no name)"))
        out.print(
            f"  [bold]{example.operation}[/] {example.entity} {example.bms_id} {name} ({example.reason})",
            highlight=False,
        )
        for change in example.changes or ():
            out.print(
                f"      {change['field']}: {_value(change['before'])} → {_value(change['after'])}", highlight=False
            )
        if example.unmark_id is not None:
            out.print(f"      Passportal {_value(example.unmark_id)} loses its BMS id", highlight=False)
        for kept in example.kept or ():
            there, elsewhere = (f"“{_value(kept[side])}”" for side in ("passportal", "bms"))
            reason = f"it was {elsewhere} before that load" if shown.undoes is not None else f"BMS has {elsewhere}"
            out.print(f"      [dim]{kept['field']}: Passportal keeps {there}, {reason}[/]", highlight=False)
    _print_what_waits(shown)


def _print_breakers(shown: PlanOverview) -> None:
    """Print what the breakers hold back, client by client, and what else a person should know first."""
    for held in shown.held_back:
        out.print(
            f"[yellow]Held back until a finish: {held.updates:,} {held.entity} of client {held.client_bms_id}"
            f" {escape(terminal_text(held.client or ''))}, most of which would change at once.[/]",
            highlight=False,
        )
    for hidden in shown.vanished:
        out.print(f"[yellow]{escape(terminal_text(hidden.sentence))}.[/]", highlight=False)
    for warning in shown.warnings:
        out.print(f"[yellow]{escape(terminal_text(warning))}[/]", highlight=False)
    if shown.inactive:
        listed = ", ".join(count.in_words for count in shown.inactive)
        out.print(f"Inactive in BMS: {listed}. `bms-pipeline inactive` lists them.", highlight=False, soft_wrap=True)


def _print_what_waits(shown: PlanOverview) -> None:
    """Print the state of the plan, so nobody takes a plan with work left for a finished one."""
    short = shown.hash[:12]
    if shown.loaded:
        text = f"Plan {short} is loaded."
        if shown.refused:
            text += f" Passportal refused {shown.refused:,} of its operations; `bms-pipeline status` counts them."
    elif shown.state is plan_preview.PlanState.DISCARDED:
        text = f"Plan {short} was discarded by {shown.discarded_by}. Make a new one with `bms-pipeline preview`."
    elif not shown.operations:
        kinds = {"needs a decision": "wait for a decision", "blocked": "wait for their client"}
        counts = {words: sum(of[kind] for of in shown.totals.values()) for kind, words in kinds.items()}
        waiting = ", ".join(f"{count:,} {words}" for words, count in counts.items() if count)
        text = "There is nothing to load" + (f"; of the records {waiting}." if waiting else ".")
    else:
        whole = "Load it" if shown.undoes is None else f"It takes back plan {shown.undoes}; load it"
        text = f"{shown.left:,} of {shown.operations:,} operations wait. {whole} with `bms-pipeline finish {short}`."
    out.print(text, highlight=False, soft_wrap=True)


def _value(value: str | None) -> str:
    """Return a field's value for the terminal; one side may have none."""
    return escape(terminal_text(value)) if value is not None else "—"


def _next_step(stands: standings.Story, about: str) -> str:
    """Return the next step for the record of ``story``, which waits for ``about``."""
    steps = standings.NextStep
    steps_in_words = {
        steps.NOTHING: "nothing is to be done",
        steps.SYNC: "the next `bms-pipeline sync` does it",
        steps.PLAN: "make a new plan with `bms-pipeline preview`",
        steps.FINISH: "`bms-pipeline finish {plan}`, after a look at `bms-pipeline preview --saved`",
        steps.DECIDE: "decide about it: `bms-pipeline suggest {record}`, then `match`, `create` or `exclude`",
        steps.INCLUDE: "`bms-pipeline include {record}`, if it is to be synced",
        steps.IMPORT_FILE: "import its file into Passportal once: `bms-pipeline pending-imports`",
        steps.CHANGE_SETTINGS: "`bms-pipeline settings` shows what is left out",
        steps.CORRECT: "correct what Passportal refuses; the next sync then tries again, or `bms-pipeline retry`",
        steps.LOOK_IN_BMS: "see in BMS which account it belongs to",
    }
    return steps_in_words[stands.next_step].format(record=about, plan=(stands.plan_hash or "")[:12])


def print_story(story: FullStory) -> None:
    """Print a record's story: a sentence, the next step, the time line, and both sides field by field."""
    record, stands = story.record, story.record.standing
    name = terminal_text(record.in_bms.get("name") or "(no name)")
    out.print(f"[bold]{escape(name)}[/], {BY_NAME[record.entity].singular} {record.bms_id}", highlight=False)
    out.print(escape(terminal_text(stories.plain(story.sentence))), highlight=False)
    if story.client is not None:
        of_client = terminal_text(story.client.name or "(no name)")
        out.print(f"Client: {escape(of_client)} (clients {story.client.bms_id})", highlight=False)
    if story.record.accounts:
        linked = ", ".join(map(stories.account_in_words, story.record.accounts))
        out.print(f"Accounts of its Passportal client: {escape(terminal_text(linked))}", highlight=False)
    if stands is not None:
        if stands.blocks:
            listed = ", ".join(f"{records:,} {entity}" for entity, records in stands.blocks.items())
            out.print(f"Keeps waiting: {listed}", highlight=False)
        is_blocked = stands.waits_for is not None and stands.standing is standings.Standing.BLOCKED
        about = f"clients {stands.waits_for.bms_id}" if stands.waits_for and is_blocked else None
        out.print(f"Next: {_next_step(stands, about or f'{record.entity} {record.bms_id}')}", highlight=False)
    _print_events(story)
    _print_fields(story)
    _print_candidates(story)
    out.print("[dim]All codes and ids: the same with --json.[/]", highlight=False)


def _print_events(story: FullStory) -> None:
    """Print the time line, each write with its fields below it."""
    labels = story.record.labels
    out.print("\n[bold]Time line[/] (UTC)", highlight=False)
    for event in story.events:
        out.print(f"  {event.at:%Y-%m-%d %H:%M}  {escape(terminal_text(event.text))}", highlight=False)
        for change in event.fields:
            label = escape(terminal_text(labels.get(change["field"], change["field"])))
            out.print(f"    {label}: {_value(change['before'])} → {_value(change['after'])}", highlight=False)


def _print_fields(story: FullStory) -> None:
    """Print each field on both sides and how they compare; its owner where that is a side."""
    out.print("")
    if story.counterpart is None:
        rows = [(field.label, field.bms or "—") for field in story.fields]
        print_table("In BMS only", ("field", "BMS"), rows)
        return
    print_table(
        "Both sides",
        ("field", "BMS", "Passportal", "compared"),
        [
            (
                field.label if field.is_owned_by_last_edit else f"{field.label} (owner: {field.owner})",
                field.bms or "—",
                field.passportal or "—",
                field.mark or "",
            )
            for field in story.fields
        ],
    )


def _print_candidates(story: FullStory) -> None:
    """Print the records of Passportal that it may be."""
    for suggestion in story.record.suggestions:
        text = f"{suggestion.name or '(no name)'} ({suggestion.passportal_id}): {suggestion.evidence}"
        out.print(f"It may be {escape(terminal_text(text))}", highlight=False)
    for candidate in story.namesakes:
        elsewhere = "" if candidate.in_its_client else ", in another client"
        matched = f", matched to BMS {candidate.matched_to}" if candidate.matched_to is not None else ""
        text = f"{candidate.name or '(no name)'} ({candidate.passportal_id}){elsewhere}{matched}"
        out.print(f"Same name in Passportal: {escape(terminal_text(text))}", highlight=False)
