"""The commands for copies of people's decisions: make one, list them, put one back, or start over without."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from bms_pipeline.cli.on_demand import open_warehouse, read_settings, recovery
from bms_pipeline.cli.output import AsJson, print_json, print_table, safe, say
from bms_pipeline.cli.printing import say_how_to_begin
from bms_pipeline.core.errors import PipelineError

app = typer.Typer()

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]


@app.command(rich_help_panel="Copies")
def backup(
    file: Annotated[Path | None, typer.Argument(help="A file that is not there yet; default: in backups/.")] = None,
) -> None:
    """Make a whole copy of the database, read it again and compare it."""
    settings = read_settings()
    made = recovery.back_up(settings, open_warehouse(settings), file)
    say(f"{safe(made.file)} is a good copy: {made.matches:,} matches, {made.exclusions:,} exclusions,"
        f" {made.decisions:,} decisions in the ledger.")  # fmt: skip


@app.command(rich_help_panel="Copies")
def backups(as_json: AsJson = False) -> None:
    """List the copies, after reading each whole: when it was made, what it holds, whether it is good."""
    settings = read_settings()
    copies = recovery.list_copies(settings)
    if as_json:
        print_json([{**asdict(copy), "good": not copy.problem} for copy in copies])
        return
    if not copies:
        say("There is no copy yet. One is made after each run that changes a decision or a match.")
        if not settings.warehouse_file.exists():
            say_how_to_begin(settings)
        return
    rows = [
        (
            copy.file.name,
            copy.made_at,
            copy.version,
            copy.matches,
            copy.exclusions,
            copy.decisions,
            copy.problem or "good",
        )
        for copy in copies
    ]
    columns = ("file", "made (UTC)", "version", "matches", "exclusions", "decisions", "state")
    print_table("Copies, the one that holds most first", columns, rows, numbers=columns[3:6])


@app.command(rich_help_panel="Copies")
def restore(
    file: Annotated[Path | None, typer.Argument(help="The copy to put back; default: the newest good one.")] = None,
    yes: Yes = False,
) -> None:
    """Put back a copy and every decision since from decisions.log. The present database is moved aside."""
    settings = read_settings()
    found = recovery.find_restorable(settings, file)
    for problem in found.problems:
        say(f"[bold yellow]Note:[/] {safe(problem)}.")
    if found.copy is not None:
        say(f"{safe(found.copy.file)} of {found.copy.made_at:%Y-%m-%d %H:%M} UTC holds {found.copy.matches:,} matches,"
            f" {found.copy.exclusions:,} exclusions and {found.copy.decisions:,} decisions.")  # fmt: skip
    else:
        say("There is no good copy. What people decided comes back from the log alone.")
    say(f"The log adds {len(found.entries):,} lines with {found.decisions:,} decisions since.")
    say(f"{safe(settings.warehouse_file)} and its .wal are moved aside, never deleted.")
    if not yes:
        typer.confirm("Restore?", abort=True)
    done = recovery.restore(settings, found)
    for moved in done.moved:
        say(f"Moved aside: {safe(moved)}")
    say(f"Back: {done.matches:,} matches, {done.exclusions:,} exclusions, {done.decisions:,} decisions, all settings.")
    if found.approvals:
        say(f"Not back: {found.approvals:,} approvals of plans or plans of an undo. Give them again.")
    say("To be read again: all lists of BMS and Passportal. Plans are made again: `bms-pipeline preview`.")


@app.command(rich_help_panel="Copies")
def rebuild(yes: Yes = False) -> None:
    """Start over without any copy. Nothing is created until a person has finished a plan by its hash.

    Matches come back by markers and names. Exclusions, non-matches, settings and the ledger do not.
    """
    settings = read_settings()
    try:
        found = recovery.find_restorable(settings)
    except PipelineError:
        found = None
    if found is not None:
        held = found.copy.decisions if found.copy else 0
        say(f"[bold yellow]Note:[/] `bms-pipeline restore` would bring back {held + found.decisions:,} decisions.")
    say("Exclusions, non-matches, settings and the ledger are not found again. What was excluded is planned as new.")
    if not settings.bms_pipeline_lake:
        say("The present database, its log and its copies are moved aside, never deleted.")
    if not yes:
        typer.confirm("Start over?", abort=True)
    for moved in recovery.rebuild(settings):
        say(f"Moved aside: {safe(moved)}")
    say("Begin with `bms-pipeline preview`, look at every create, exclude what has to stay out, then `finish HASH`.")
