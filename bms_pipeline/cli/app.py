"""``bms-pipeline``: the commands for a terminal and for scripts.

Exit codes: 0 done, or nothing to do; 2 changes are pending (``preview``, and ``sync`` while a person has to approve);
1 an error, shown in one message on standard error.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
import typer.exceptions
from rich.markup import escape

from bms_pipeline.cli import (
    backups,
    decide,
    doctor,
    init,
    json_log,
    lake,
    mapping,
    mapping_suggest,
    monitoring,
    sandbox,
    serve,
    support,
)
from bms_pipeline.cli.former_names import translated
from bms_pipeline.cli.on_demand import (
    client_ids,
    fetch_details,
    figures,
    inactive,
    kept_open,
    loading,
    matching,
    notifications,
    open_warehouse,
    plan_preview,
    planning,
    read_settings,
    run_lock,
    services,
    stories,
    whole_sync,
)
from bms_pipeline.cli.output import (  # fmt: skip
    CLOSED_PIPE,
    AsJson,
    OutputRefused,
    close_output,
    drop_output,
    entity_names,
    err,
    me,
    open_output,
    out,
    print_json,
    print_table,
    progress,
    this_command,
)
from bms_pipeline.cli.printing import (
    exit_with_2_unless_done,
    how_it_ended,
    print_overview,
    print_remarks,
    print_status,
    print_story,
    say_how_to_begin,
    say_nothing_there,
    warn_of_approved_plan,
)
from bms_pipeline.core import files, lifeline
from bms_pipeline.core.entities import chosen
from bms_pipeline.core.errors import PipelineError, SettingsError
from bms_pipeline.core.run_status import leave_error
from bms_pipeline.warehouse.binding import without_pandas

if TYPE_CHECKING:
    from bms_pipeline.core.settings import Settings
    from bms_pipeline.warehouse.connection import Warehouse

app = typer.Typer(
    help="Bring clients, users, assets, contacts and locations from Kaseya BMS into Passportal, without duplicates.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(init.app)
app.add_typer(sandbox.app, name="sandbox")
app.add_typer(serve.app)
app.add_typer(decide.app)
mapping.app.command("suggest")(mapping_suggest.suggest)
app.add_typer(mapping.app, name="mapping", rich_help_panel="Decide")
app.add_typer(backups.app)
app.add_typer(lake.app)
app.add_typer(monitoring.app)
app.add_typer(doctor.app)
app.add_typer(support.app, name="support")


Entities = Annotated[
    list[str] | None,
    typer.Option(
        "--entity", autocompletion=entity_names, help="Only this entity; repeat for more. Clients are always read."
    ),
]
Clients = Annotated[
    list[str] | None,
    typer.Option(
        "--client",
        help="Read and plan this client alone, by its BMS account id or its name: about ten calls; repeat for more.",
    ),
]
CreateUnmatched = Annotated[
    bool,
    typer.Option(
        "--create-unmatched",
        help="Create all users and clients that match nothing. Near-identical and ambiguous ones still wait.",
    ),
]
By = Annotated[str | None, typer.Option(help="Who approves, for the record; default: you.")]
Incremental = Annotated[
    bool,
    typer.Option(
        "--incremental",
        help="As Dagster's schedule does it: end early where nothing changed since the last plan, and read a list that"
        " needs more calls than the hour has left in instalments. For cron.",
    ),
]
NoWait = Annotated[
    bool,
    typer.Option(
        "--no-wait",
        help="Do not wait for writes whose answer was lost: leave them to the next sync, and exit with 2.",
    ),
]
Full = Annotated[bool, typer.Option("--full", help="Read every record, also where BMS can tell what changed.")]


def _show_version(wanted: bool) -> None:
    """Print the version of this program and of what its files depend on."""
    if not wanted:
        return
    from importlib.metadata import version

    python = ".".join(map(str, sys.version_info[:3]))
    print(f"bms-pipeline {version('bms_pipeline')}"
          f" (Python {python}, DuckDB {version('duckdb')}, Dagster {version('dagster')})")  # fmt: skip
    raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    log_json: Annotated[
        bool, typer.Option(json_log.OPTION, help="Write each line on standard error as a JSON object, for any command.")
    ] = False,
) -> None:
    """Take the options of the whole program."""


INTERRUPTED = 130
"""The exit code after Ctrl-C, as a shell's."""


def main() -> NoReturn:
    """Run the command line; a mistake or a fault becomes one message and exit code 1."""
    os.umask(0o077)
    open_output()
    with json_log.when_asked(sys.argv[1:], err):
        code = _guarded_exit_code()
    sys.exit(code)


def _guarded_exit_code() -> int:
    """Run the command; return its exit code, also where its output cannot be written."""
    try:
        code = _exit_code()
        close_output()
    except OutputRefused as error:
        code = CLOSED_PIPE if error.is_closed_pipe else 1
        if not error.is_closed_pipe:
            with suppress(OutputRefused):
                err.print(f"[bold red]Error:[/] The output cannot be written: {error.why}.", highlight=False)
                err.print("[bold]Next:[/]  What the command did is done; `bms-pipeline status` shows it.")
        drop_output()
    return code


def _exit_code() -> int:
    """Run the command; return its exit code."""
    try:
        with lifeline.following(), lifeline.stopped_by_signals():
            arguments = translated(json_log.without_option(sys.argv[1:]), lambda line: err.print(line, highlight=False))
            code = app(arguments, prog_name="bms-pipeline", standalone_mode=False)
        if code == INTERRUPTED:  # so Typer says that it caught Ctrl-C
            code = _stopped()
    except SystemExit as end:  # so ends what Typer does itself: completion
        code = end.code
    except PipelineError as error:
        code = _failed(error)
    except OSError as error:
        # An error of the system has a cause and a next step wherever it happens.
        if error.errno is None or error.filename is None:
            raise
        code = _failed(files.refused_by_system(error.errno, error.filename))
    except (KeyboardInterrupt, typer.Abort):
        code = _stopped()
    except typer.exceptions.TyperException as error:
        message = error.format_message()
        code = _failed(PipelineError(message, "Add --help to see what the command takes.")) if message else 1
    return code if isinstance(code, int) else 0


def _stopped() -> int:
    """Say that the command was interrupted, and how it goes on; return the exit code."""
    err.print("Stopped. What was done is kept; run the same command again to continue.")
    return INTERRUPTED


def _failed(error: PipelineError) -> int:
    """Show the error and the next step; return the exit code."""
    leave_error(error)
    if json_log.wrote_error(error):
        return 1
    err.print(f"[bold red]Error:[/] {escape(error.message)}", highlight=False, soft_wrap=True)
    if error.next_step:
        err.print(f"[bold]Next:[/]  {escape(error.next_step)}", highlight=False, soft_wrap=True)
    return 1


@app.command()
def authenticate() -> None:
    """Log in to BMS, and to Passportal where it is a service; say who and where we are; changes nothing."""
    found = services.authenticate(read_settings())
    bms, passportal = found.bms, found.passportal
    out.print(f"BMS answers at [bold]{escape(bms.api_url)}[/]", highlight=False)
    out.print(f"as {escape(bms.full_name)} of {escape(bms.business_name)} (time zone {bms.time_zone})")
    if passportal:
        out.print(f"Passportal answers at [bold]{escape(passportal.url)}[/]", highlight=False)
        out.print(f"with {passportal.clients:,} clients" + ("" if passportal.has_documents else " and no document yet"))
        if passportal.advice:
            out.print(passportal.advice, style="dim", highlight=False)


@app.command("sync")
def sync_command(
    entity: Entities = None,
    client: Clients = None,
    create_unmatched: CreateUnmatched = False,
    full: Full = False,
    incremental: Incremental = False,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Read BMS and Passportal, plan, and load what may be loaded.

    Until the initial sync is finished, you approve the plan: look at it with `bms-pipeline preview`, then run
    `bms-pipeline finish HASH`. Or give --create-unmatched: it creates all records that match nothing. Those with a
    near-identical or ambiguous name still wait for you.
    """
    if incremental and (entity or client or create_unmatched):
        raise SettingsError(
            "--incremental is about all records and nobody's decision.",
            "Leave out --entity, --client and --create-unmatched, or that one.",
        )
    settings, before = read_settings(), _calls_made()
    started = time.monotonic()
    with ExitStack() as kept:
        with run_lock.running(settings, this_command()) as run_status, progress(run_status) as stages:
            scope = _scope(settings, client)
            if incremental:
                synced = whole_sync.synchronise_new(settings, full=full, wait=not no_wait, progress=stages)
            else:
                synced = whole_sync.synchronise(
                    settings,
                    entities=chosen(entity),
                    scope=scope,
                    full=full,
                    create_unmatched_by=me() if create_unmatched else None,
                    wait=not no_wait,
                    progress=stages,
                )
            kept.enter_context(kept_open())  # no service is called from here on
        ended = how_it_ended(settings)
    # A plan that waits is printed last, and once.
    shown = ended.status if as_json or not synced.waits else replace(ended.status, plan=None)
    print_status(settings, shown, as_json, time.monotonic() - started)
    _say_calls(client, before)
    _say_how_to_link(open_warehouse(settings), client)
    plan = synced.plan
    if synced.waits:
        err.print(
            f"Plan {plan.hash[:12]} with {plan.operations:,} operations waits for a person; nothing was loaded.\n"
            f"Look at it with `bms-pipeline preview --saved`, load it with `bms-pipeline finish {plan.hash[:12]}`.",
            highlight=False,
        )
        raise typer.Exit(2)
    if not synced.is_new:
        err.print(
            f"Nothing is new since the plan of {plan.made_at:%Y-%m-%d %H:%M} UTC. Nothing was planned or loaded.",
            highlight=False,
        )
    exit_with_2_unless_done(settings, ended)


@app.command()
def preview(
    entity: Entities = None,
    client: Clients = None,
    full: Full = False,
    saved: Annotated[
        bool, typer.Option("--saved", help="Read neither service: the saved plan, or a new one if decisions changed.")
    ] = False,
    csv: Annotated[Path | None, typer.Option(help="Also write every change into this file.")] = None,
    html: Annotated[Path | None, typer.Option(help="Also write the plan as one page into this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Read BMS and Passportal and show what a load would do; exit code 2 when it would do anything.

    The plan is saved under a hash: `finish HASH` loads exactly that.
    """
    settings, before = read_settings(), _calls_made()
    warehouse = open_warehouse(settings)
    if not saved:
        warn_of_approved_plan(warehouse)
        with run_lock.running(settings, this_command()) as run_status, progress(run_status) as stages:
            whole_sync.prepare(
                settings,
                entities=chosen(entity),
                scope=_scope(settings, client),
                full=full,
                progress=stages,
            )
        _say_calls(client, before)
    elif (former := planning.current_plan(warehouse)).is_to_be_made_anew:
        with run_lock.running(settings, this_command()) as run_status:
            planning.plan_from_stored(warehouse, progress=run_status)
        why = "was discarded" if former.discarded else "is out of date: decisions, settings or records changed since"
        err.print(f"The saved plan {why}. This is a new one.", highlight=False)
    shown = plan_preview.overview(warehouse)
    if as_json:
        print_json(shown)
    else:
        print_overview(shown)
    for file, write in ((csv, plan_preview.write_plan_csv), (html, plan_preview.write_html)):
        if file is not None:
            err.print(f"{write(warehouse, file):,} records or changes in {file}", highlight=False)
    _say_how_to_link(warehouse, client)
    if shown.left:
        raise typer.Exit(2)


@app.command()
def finish(
    plan_hash: Annotated[str, typer.Argument(metavar="HASH", help="The plan's hash, its first 8 characters or more.")],
    by: By = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Approve the saved plan by its hash and load exactly that. The first finish ends the initial sync.

    Was it interrupted? Run the same command again: it looks up what was under way and goes on under the same approval.
    """
    settings = read_settings()
    started = time.monotonic()
    # Also for a loaded plan: a run killed at its very end has not published the state.
    with run_lock.running(settings, this_command()) as run_status, progress(run_status) as stages:
        loaded_at = loading.loaded_at(open_warehouse(settings), plan_hash)
        if loaded_at is None:
            stages("approve", 0, None)
            with closing(services.open_target(settings)) as target:
                planning.approve(settings, open_warehouse(settings), target, plan_hash, by or me())
            loading.finish(settings, wait=not no_wait, progress=stages)
    if loaded_at is not None:
        err.print(f"Plan {escape(plan_hash)} was loaded already, at {loaded_at:%Y-%m-%d %H:%M} UTC. Nothing to do.")
    ended = how_it_ended(settings)
    print_status(settings, ended.status, as_json, time.monotonic() - started)
    if loaded_at is None:
        exit_with_2_unless_done(settings, ended)
        err.print(
            f"Plan {ended.plan.hash[:12]} is loaded: {ended.plan.operations:,} operations, each with an outcome.",
            highlight=False,
        )


@app.command()
def approve(
    plan_hash: Annotated[str, typer.Argument(metavar="HASH", help="The plan's hash, its first 8 characters or more.")],
    by: By = None,
) -> None:
    """Approve the saved plan by its hash, and leave loading it to Dagster's jobs `finish` or `finish_clients`.

    For a Dagster web server without a log-in of ours: what is launched there loads approved plans only.
    """
    settings = read_settings()
    with run_lock.running(settings, this_command()) as run_status, progress(run_status) as stages:
        stages("approve", 0, None)
        with closing(services.open_target(settings)) as target:
            plan = planning.approve(settings, open_warehouse(settings), target, plan_hash, by or me())
    out.print(f"Plan {plan.hash[:12]} is approved; nothing was loaded yet.", highlight=False)


@app.command("fetch-details")
def fetch_details_command(
    limit: Annotated[int | None, typer.Option(min=1, help="Read this many at most.")] = None,
    as_json: AsJson = False,
) -> None:
    """Read details of assets that are in Passportal, one call each, as far as this hour's calls go.

    It runs next to any other run, and what it reads lands with the next sync. Run it again later: it continues.
    """
    settings = read_settings()
    with progress() as stages:
        done = fetch_details.read_details(settings, limit=limit, progress=stages)
    if as_json:
        print_json({**asdict(done), "finished": done.estimate})
        return
    if not (done.read or done.waiting or done.problems):
        say_nothing_there(settings, "No details to read.")
        return
    noted = f" (and {done.problems:,} problems noted)" if done.problems else ""
    out.print(f"Read the details of {done.read:,} assets{noted}; the next sync lands them.", highlight=False)
    out.print(f"{done.waiting:,} are waiting: {done.estimate}.", highlight=False)


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show how the records stand, what the last sync did, the plan that waits, and the calls left this hour."""
    with without_pandas():
        settings = read_settings()
        with kept_open():
            shown = figures.status(settings, open_warehouse(settings))
            is_anything_read = figures.is_anything_read(settings)
    if is_anything_read or as_json:
        print_status(settings, shown, as_json, None)
    else:
        print_remarks(shown)
        say_how_to_begin(settings)


@app.command()
def explain(
    entity: decide.EntityArgument,
    bms_id: decide.Id,
    as_json: AsJson = False,
) -> None:
    """Tell one record's story: what BMS says, what was decided and why, and what was done to it."""
    with without_pandas():
        settings = read_settings()
        story = stories.tell(open_warehouse(settings), entity, bms_id, settings.landing_folder)
    if as_json:
        print_json(story.record)
    else:
        print_story(story)


@app.command()
def orphans(
    entity: Entities = None,
    as_json: AsJson = False,
    csv: Annotated[Path | None, typer.Option(help="Also write them into this file.")] = None,
) -> None:
    """List what is gone from BMS and kept in Passportal, longest gone first. Nothing is ever deleted there."""
    settings, entities = read_settings(), chosen(entity)
    warehouse = open_warehouse(settings)
    found = figures.orphans(warehouse, entities)
    if as_json:
        print_json(found)
    elif found:
        columns = ("record", "name", "client", "passportal id", "gone since (UTC)")
        rows = [
            (
                f"{row['entity']} {row['bms_id']}", row["name"], row["client"], row["passportal_id"],
                f"{row['missing_since']:%Y-%m-%d} ({row['days']:,} days)",
            )
            for row in found
        ]  # fmt: skip
        print_table("Gone from BMS and kept in Passportal", columns, rows)
    else:
        say_nothing_there(settings, "No matched record is gone from BMS.")
    if csv is not None:
        err.print(f"{figures.write_orphans(warehouse, csv, entities):,} records in {csv}", highlight=False)


@app.command("inactive")
def list_inactive(
    entity: Entities = None,
    as_json: AsJson = False,
    csv: Annotated[Path | None, typer.Option(help="Also write them into this file.")] = None,
) -> None:
    """List what is documented in Passportal and inactive in BMS, by client. A mapping can let the documents say so."""
    settings, entities = read_settings(), chosen(entity)
    warehouse = open_warehouse(settings)
    found = inactive.inactive(warehouse, entities)
    if as_json:
        print_json(found)
    elif found:
        columns = ("client", "record", "name", "passportal id", "says")
        rows = [
            (row["client"], f"{row['entity']} {row['bms_id']}", row["name"], row["passportal_id"], row["says"])
            for row in found
        ]
        print_table("Documented in Passportal and inactive in BMS", columns, rows)
    else:
        say_nothing_there(settings, "No documented record is inactive in BMS.")
    if csv is not None:
        err.print(f"{inactive.write_inactive(warehouse, csv, entities):,} records in {csv}", highlight=False)


@app.command("test-notification")
def test_notification() -> None:
    """Send a test notice by every way that is set, and say which ways it went."""
    notice = notifications.Notice(
        "BMS pipeline: a test notice", "Somebody ran `bms-pipeline test-notification`. Nothing is wrong."
    )
    ways = notifications.send(read_settings(), notice)
    if ways:
        out.print(f"A test notice went by {' and '.join(ways)}.", highlight=False)
    else:
        out.print("No notification channel is configured. Set one in the environment or in .env:")
        out.print("  NOTICE_WEBHOOK_URL    [dim]Slack, Mattermost, Teams workflows[/]", highlight=False)
        out.print("  NOTICE_EMAIL_TO       [dim]with NOTICE_EMAIL_FROM and NOTICE_SMTP_HOST[/]", highlight=False)


def _scope(settings: Settings, clients: Sequence[str] | None) -> matching.Scope:
    """Return the scope of the clients named; say what reading them alone takes."""
    if not clients:
        return matching.Scope()
    found = client_ids.find_clients(settings, clients)
    err.print(whole_sync.what_reading_takes(settings, found), highlight=False, soft_wrap=True)
    return matching.Scope(clients=found)


def _calls_made() -> dict[str, int]:
    from bms_pipeline.core.http import calls_made  # here: most commands make none

    return calls_made()


def _say_calls(clients: Sequence[str] | None, before: Mapping[str, int]) -> None:
    """Say how many calls a command about some clients alone has sent to each service since ``before``."""
    if clients:
        made = Counter(_calls_made()) - Counter(before)
        err.print(f"Calls made: {made['BMS']:,} to BMS, {made['Passportal']:,} to Passportal.", highlight=False)


def _say_how_to_link(warehouse: Warehouse, clients: Sequence[str] | None) -> None:
    """Say what a person decides about the clients of the command that only a person may link yet."""
    for bms_id, name in planning.clients_to_link(warehouse) if clients else ():
        err.print(
            f"Client {bms_id} {escape(name or '')} waits for you: not all accounts were read yet, so another one may"
            f" have its name.\nSee `bms-pipeline suggest clients {bms_id}`, link it with `bms-pipeline match clients"
            f" {bms_id} PASSPORTAL_ID` or `bms-pipeline create clients {bms_id}`, then run this again.",
            highlight=False,
            soft_wrap=True,
        )


if __name__ == "__main__":
    main()
