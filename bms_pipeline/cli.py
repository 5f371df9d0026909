"""``bms-pipeline``: the verbs for a terminal and for scripts.

Exit codes: 0 done, or nothing to do; 2 changes are pending (``preview``, and ``sync`` while a person has to approve);
1 an error, told in one message on standard error.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
import typer.exceptions
from rich.markup import escape
from rich.table import Table

from bms_pipeline import notices, reports, review_cli, sync
from bms_pipeline.entities import BY_NAME, chosen
from bms_pipeline.errors import PipelineError, PlanError, SettingsError
from bms_pipeline.load import journal
from bms_pipeline.notices import Notice
from bms_pipeline.preview import overview, write_csv, write_html
from bms_pipeline.reconcile.matching import Scope
from bms_pipeline.settings import Settings, read_settings
from bms_pipeline.terminal import (
    AsJson,
    err,
    me,
    out,
    print_json,
    print_table,
    printable,
    progress,
    this_command,
)  # fmt: skip
from bms_pipeline.warehouse.connection import Warehouse

app = typer.Typer(
    help="Bring clients, users, assets, contacts and locations from Kaseya BMS into Passportal, without duplicates.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
sandbox_app = typer.Typer(help="A stand-in for Kaseya BMS with a made-up tenant, to try everything on.")
app.add_typer(sandbox_app, name="sandbox")
app.add_typer(review_cli.app)

_DETAILS_SAID = {
    "unlanded": "more read and landing with the next sync",
    "waiting": "waiting",
    "problems": "with a problem (`explain` tells)",
}

CONSOLE_PORT = 3001

Entities = Annotated[
    list[str] | None, typer.Option("--entity", help="Only this entity; repeat for more. Clients are always read.")
]
Clients = Annotated[
    list[int] | None, typer.Option("--client", help="Only this client, by its BMS account id; repeat for more.")
]
CreateUnmatched = Annotated[
    bool,
    typer.Option(
        "--create-unmatched",
        help="Decide for all users and clients that match nothing: create them. Ambiguous ones still wait.",
    ),
]
By = Annotated[str | None, typer.Option(help="Who approves, for the record; default: you.")]
OnlyWhatIsNew = Annotated[
    bool,
    typer.Option(
        "--only-what-is-new",
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


def main() -> NoReturn:
    """Run the command line; a mistake or a fault becomes one message and exit code 1."""
    os.umask(0o077)
    try:
        code = app(standalone_mode=False)
    except PipelineError as error:
        err.print(f"[bold red]Error:[/] {escape(error.message)}", highlight=False, soft_wrap=True)
        if error.next_step:
            err.print(f"[bold]Next:[/]  {escape(error.next_step)}", highlight=False, soft_wrap=True)
        code = 1
    except (KeyboardInterrupt, typer.Abort):
        err.print("Stopped. What was done is kept; run the same command again to continue.")
        code = 130
    except typer.exceptions.TyperException as error:
        if error.format_message():
            err.print(f"[bold red]Error:[/] {escape(error.format_message())}", highlight=False)
            err.print("[bold]Next:[/]  Add --help to see what the command takes.", highlight=False)
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


@app.command()
def authenticate() -> None:
    """Log in to BMS, and to Passportal where it is a service; say who and where we are; changes nothing."""
    found = sync.authenticate(read_settings())
    bms, passportal = found.bms, found.passportal
    out.print(f"BMS answers at [bold]{escape(bms.api_url)}[/]", highlight=False)
    out.print(f"as {escape(bms.full_name)} of {escape(bms.business_name)} (time zone {bms.time_zone})")
    if passportal:
        out.print(f"Passportal answers at [bold]{escape(passportal.url)}[/]", highlight=False)
        out.print(f"with {passportal.clients:,} clients" + ("" if passportal.has_documents else " and no document yet"))


@app.command("sync")
def sync_command(
    entity: Entities = None,
    client: Clients = None,
    create_unmatched: CreateUnmatched = False,
    full: Full = False,
    only_what_is_new: OnlyWhatIsNew = False,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Read BMS and Passportal, plan, and load what may be loaded.

    Until the initial sync is finished a person has to approve the plan: with --create-unmatched, which decides for
    everything that waits, or with `bms-pipeline finish HASH` after a look at `bms-pipeline preview`.
    """
    if only_what_is_new and (entity or client or create_unmatched):
        raise SettingsError(
            "--only-what-is-new is about all records and nobody's decision.",
            "Leave out --entity, --client and --create-unmatched, or that one.",
        )
    settings = read_settings()
    started = time.monotonic()
    with sync.running(settings, this_command()) as told, progress(told) as bars:
        if only_what_is_new:
            plan = sync.incremental(settings, full=full, wait=not no_wait, progress=bars)
        else:
            sync.resume(settings, wait=not no_wait, progress=bars)
            plan = sync.prepare(
                settings,
                entities=chosen(entity),
                scope=_scope(client),
                full=full,
                create_unmatched_by=me() if create_unmatched else None,
                progress=bars,
            )
            if create_unmatched:
                sync.approve_unseen(settings, sync.open_warehouse(settings), sync.open_target(settings), me())
            if not sync.waits_for_person(sync.open_warehouse(settings)):
                sync.finish(settings, wait=not no_wait, progress=bars)
        waiting = sync.waits_for_person(sync.open_warehouse(settings))
    _print_status(settings, as_json, time.monotonic() - started)
    if waiting:
        err.print(
            f"Plan {plan.hash[:12]} with {plan.operations:,} operations waits for a person; nothing was loaded.\n"
            f"Look at it with `bms-pipeline preview --saved`, load it with `bms-pipeline finish {plan.hash[:12]}`.",
            highlight=False,
        )
        raise typer.Exit(2)
    _exit_with_2_unless_done(settings)


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
    settings = read_settings()
    warehouse = sync.open_warehouse(settings)
    if not saved:
        _warn_of_approved_plan(warehouse)
        with sync.running(settings, this_command()) as told, progress(told) as bars:
            sync.prepare(
                settings,
                entities=chosen(entity),
                scope=_scope(client),
                full=full,
                progress=bars,
            )
    elif sync.current_plan(warehouse).is_to_be_made_anew:
        with sync.running(settings, this_command()) as told:
            sync.plan_anew(warehouse, progress=told)
        err.print("Decisions, settings or records changed since the saved plan; this is a new one.", highlight=False)
    shown = overview(warehouse)
    if as_json:
        print_json(shown)
    else:
        _print_overview(shown)
    for file, write in ((csv, write_csv), (html, write_html)):
        if file is not None:
            err.print(f"{write(warehouse, file):,} records or changes in {file}", highlight=False)
    if shown["operations"] and not shown["loaded"]:
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
    loaded_at = sync.loaded_at(sync.open_warehouse(settings), plan_hash)
    if loaded_at is not None:
        err.print(f"Plan {escape(plan_hash)} was loaded already, at {loaded_at:%Y-%m-%d %H:%M} UTC. Nothing to do.")
        _print_status(settings, as_json, None)
        return
    with sync.running(settings, this_command()) as told, progress(told) as bars:
        bars("approve", 0, None)
        sync.approve(settings, sync.open_warehouse(settings), sync.open_target(settings), plan_hash, by or me())
        sync.finish(settings, wait=not no_wait, progress=bars)
    _print_status(settings, as_json, time.monotonic() - started)
    _exit_with_2_unless_done(settings)


@app.command()
def details(
    most: Annotated[int | None, typer.Option(min=1, help="Read no more than so many.")] = None,
    as_json: AsJson = False,
) -> None:
    """Read details of assets that are in Passportal, one call each, as far as this hour's calls go.

    Runs beside everything else; what it reads lands with the next sync. Run it again later: it continues.
    """
    with progress() as bars:
        done = sync.read_details(read_settings(), most=most, progress=bars)
    if as_json:
        print_json({**asdict(done), "finished": done.estimate})
        return
    noted = f" (and {done.problems:,} problems noted)" if done.problems else ""
    out.print(f"Read the details of {done.read:,} assets{noted}; the next sync lands them.", highlight=False)
    out.print(f"{done.waiting:,} are waiting: {done.estimate}.", highlight=False)


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show how every record read was accounted for, the plan that waits, and the calls left this hour."""
    _print_status(read_settings(), as_json, None)


@app.command()
def explain(
    entity: Annotated[str, typer.Argument(help=f"One of {', '.join(BY_NAME)}.")],
    bms_id: Annotated[int, typer.Argument(metavar="ID", help="The record's id in BMS.")],
    as_json: AsJson = False,
) -> None:
    """Tell one record's story: what BMS says, what was decided and why, and what was done to it."""
    story = reports.explain(sync.open_warehouse(read_settings()), entity, bms_id)
    if as_json:
        print_json(story)
        return
    for chapter in ("in_bms", "decided", "match", "in_passportal", "plan"):
        _print_pairs(chapter.replace("_", " "), story[chapter])
    for chapter in ("decisions", "suggestions", "candidates", "history"):
        for each in story[chapter]:
            _print_pairs(chapter, each)


@app.command()
def orphans(
    entity: Entities = None,
    as_json: AsJson = False,
    csv: Annotated[Path | None, typer.Option(help="Also write them into this file.")] = None,
) -> None:
    """List what is gone from BMS and kept in Passportal, longest gone first. Nothing is ever deleted there."""
    warehouse, entities = sync.open_warehouse(read_settings()), chosen(entity)
    found = reports.orphans(warehouse, entities)
    if as_json:
        print_json(found)
    elif found:
        columns = ("entity", "bms_id", "name", "client", "passportal_id", "missing_since", "days")
        rows = [tuple(str(each[name] if each[name] is not None else "") for name in columns) for each in found]
        print_table("Gone from BMS and kept in Passportal", columns, rows, numbers=("bms_id", "days"))
    else:
        out.print("Nothing that is matched is gone from BMS.")
    if csv is not None:
        err.print(f"{reports.write_orphans(warehouse, csv, entities):,} records in {csv}", highlight=False)


@app.command("notify-test")
def notify_test() -> None:
    """Send a test notice by every way that is set, and say which ways it went."""
    notice = Notice("BMS pipeline: a test notice", "Somebody ran `bms-pipeline notify-test`. Nothing is wrong.")
    ways = notices.send(read_settings(), notice)
    if ways:
        out.print(f"A test notice went by {' and '.join(ways)}.", highlight=False)
    else:
        out.print("No way is set, so nobody is told anything. Switch one on in the environment or in .env:")
        out.print("  NOTICE_WEBHOOK_URL    [dim]Slack, Mattermost, Teams workflows[/]", highlight=False)
        out.print("  NOTICE_EMAIL_TO       [dim]with NOTICE_EMAIL_FROM and NOTICE_SMTP_HOST[/]", highlight=False)


@app.command()
def dev(
    port: Annotated[int, typer.Option(help="Of Dagster's UI, on 127.0.0.1.")] = 3000,
    console_port: Annotated[int, typer.Option(help="Of the review pages, on 127.0.0.1.")] = CONSOLE_PORT,
) -> None:
    """Start Dagster's UI and daemon on this home folder, and the review pages beside them, until Ctrl-C.

    Dagster's UI listens on 127.0.0.1 only: it has no login, and any page you open could reach a port that is open to
    others.
    """
    checkout = Path(__file__).parent.parent
    dagster_home = (read_settings().bms_pipeline_home / "dagster").absolute()
    dagster_home.mkdir(parents=True, exist_ok=True, mode=0o700)
    shutil.copyfile(checkout / "dagster.yaml", dagster_home / "dagster.yaml")
    environment = {**os.environ, "DAGSTER_HOME": str(dagster_home)}
    dagster = str(Path(sys.executable).with_name("dagster"))
    # Once and alone: two processes that both start on a fresh home can break it for good.
    subprocess.run([dagster, "instance", "info"], env=environment, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    out.print(f"Dagster's UI will be at http://127.0.0.1:{port}. Stop with Ctrl-C.", highlight=False)
    serve = [dagster, "dev", "-w", str(checkout / "workspace.yaml"), "-h", "127.0.0.1", "-p", str(port)]
    pages = [sys.executable, "-m", "bms_pipeline.cli", "console", "--port", str(console_port)]
    beside = environment | {"DAGSTER_URL": f"http://127.0.0.1:{port}"}
    with subprocess.Popen(pages, env=beside) as console_process:  # noqa: S603
        try:
            code = subprocess.run(serve, env=environment, check=False).returncode  # noqa: S603
        finally:
            console_process.terminate()
    raise typer.Exit(code)


@app.command()
def console(
    port: Annotated[int, typer.Option(min=0, max=65535, help="On 127.0.0.1; 0: any free port.")] = CONSOLE_PORT,
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Serve the review pages until Ctrl-C: set up, decide, look at the plan, finish, see how it went.

    They listen on 127.0.0.1 only, for whoever has the address with its token, which is printed once.
    """
    # Only here: no other verb needs a web server.
    from bms_pipeline.console.app import serve

    def say_address(address: str) -> None:
        print(f"The review pages are at {address}", flush=True)  # as it is: nothing may wrap or colour it

    serve(read_settings(), port, say_address, show=show)


Size = Annotated[str, typer.Option(help="small, typical (500 clients, 50,000 assets) or large (10,000 clients).")]
Seed = Annotated[int, typer.Option(help="The same seed makes the same tenant.")]
SandboxHome = Annotated[
    Path | None, typer.Option("--home", help="Where it lives; default .bms_pipeline/sandbox-SIZE-SEED.")
]
CallsPerHour = Annotated[int, typer.Option(help="The limit per endpoint that the sandbox enforces.")]
SandboxTarget = Annotated[
    str, typer.Option("--target", help="embedded, or documents_api for a stand-in of Passportal's own API.")
]


@sandbox_app.command("run", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def sandbox_run(
    context: typer.Context,
    size: Size = "typical",
    seed: Seed = 1,
    home: SandboxHome = None,
    calls_per_hour: CallsPerHour = 1500,
    port: Annotated[int, typer.Option(help="0: any free port.")] = 0,
    target: SandboxTarget = "embedded",
) -> None:
    """Run a command with the sandbox behind it: `bms-pipeline sandbox run -- bms-pipeline preview`.

    The command finds all settings in its environment. Without a command the sandbox just serves until Ctrl-C.
    """
    if target not in {"embedded", "documents_api"}:
        raise SettingsError(f"There is no target {target!r}.", "Choose embedded or documents_api.")
    home = (home or Path(".bms_pipeline") / f"sandbox-{size}-{seed}").absolute()
    with ExitStack() as stack:
        environment = stack.enter_context(_sandbox(size, seed, home, calls_per_hour, port))
        environment |= stack.enter_context(_sandbox_passportal(target, home))
        if context.args:
            raise typer.Exit(subprocess.run(context.args, env={**os.environ, **environment}, check=False).returncode)  # noqa: S603
        err.print("The sandbox serves until Ctrl-C. In another terminal:", highlight=False)
        for name, value in environment.items():
            out.print(f"export {name}='{value}'", highlight=False, soft_wrap=True)
        while True:
            time.sleep(3600)


@sandbox_app.command("mutate")
def sandbox_mutate(
    url: Annotated[str, typer.Option(envvar="BMS_URL", help="The running sandbox.")],
    seed: Annotated[int, typer.Option(help="The same seed makes the same changes.")] = 1,
) -> None:
    """Let a day pass in a running sandbox: records appear, are renamed, move, are deactivated and deleted."""
    from bms_pipeline.sandbox.process import mutate

    print_json(mutate(url, seed))


@sandbox_app.command("import-files")
def sandbox_import_files(
    url: Annotated[str, typer.Option(envvar="PASSPORTAL_URL", help="The running sandbox Passportal.")],
    users_file: Annotated[
        Path, typer.Option(envvar="PASSPORTAL_USERS_FILE", help="Where the users are exported afterwards.")
    ],
) -> None:
    """Do a person's part in a running sandbox: import each file of import_files/ once, then export the users."""
    from bms_pipeline.sandbox.process import export_users, import_new_files

    folder = read_settings().bms_pipeline_home / "import_files"
    imported = import_new_files(url, folder)
    export_users(url, users_file)
    for file in imported:
        out.print(f"Imported {file.name}.", highlight=False)
    if not imported:
        out.print(f"There is no new file in {os.path.relpath(folder)}.", highlight=False, soft_wrap=True)
    out.print(f"Exported the users to {os.path.relpath(users_file)}.", highlight=False, soft_wrap=True)


@contextmanager
def _sandbox(size: str, seed: int, home: Path, calls_per_hour: int, port: int) -> Iterator[dict[str, str]]:
    """Start the sandbox BMS; the environment that reaches it."""
    # Imported here because nobody who syncs a real tenant should wait for, or run, any of it.
    from bms_pipeline.sandbox.process import running_sandbox
    from bms_pipeline.sandbox.tenant import SIZES

    if size not in SIZES:
        raise SettingsError(f"There is no sandbox of size {size!r}.", f"Choose one of {', '.join(SIZES)}.")
    with ExitStack() as stack:
        with err.status(f"Starting a sandbox BMS with a {size} tenant (seed {seed}) in {home}"):
            behaviour = {"hourly_limit": calls_per_hour}
            running = stack.enter_context(running_sandbox(size, seed, home / "tenant", behaviour, port=port))
        yield {
            "BMS_URL": running.url,
            "BMS_TENANT": running.login["tenant"],
            "BMS_USERNAME": running.login["username"],
            "BMS_PASSWORD": running.login["password"],
            "BMS_CALLS_PER_HOUR": str(calls_per_hour),
            "BMS_PIPELINE_HOME": str(home),
        }


@contextmanager
def _sandbox_passportal(target: str, home: Path) -> Iterator[dict[str, str]]:
    """Give a Passportal its records on first use, and start it if it is a service; the environment that reaches it."""
    from bms_pipeline.sandbox.passportal import fill_passportal
    from bms_pipeline.sandbox.process import running_passportal

    if target == "embedded":
        settings = Settings(_env_file=None, bms_pipeline_home=home)  # type: ignore[call-arg]  # pydantic adds it
        fill_passportal(settings.passportal_file, home / "tenant")
        yield {"PASSPORTAL_TARGET": target}
    else:
        with running_passportal(home / "passportal", home / "tenant") as running:
            yield running.environment()


def _scope(clients: Sequence[int] | None) -> Scope:
    return Scope(clients=tuple(clients) if clients else None)


def _print_status(settings: Settings, as_json: bool, seconds: float | None) -> None:
    shown = reports.status(settings, sync.open_warehouse(settings))
    if as_json:
        print_json(shown)
        return
    table = Table(title="Records by outcome", title_justify="left")
    table.add_column("")
    for entity in shown["entities"]:
        table.add_column(entity, justify="right")
    for outcome in reports.COUNTS:
        if outcome == "pending" and not any(_of(shown, outcome)):
            continue
        numbers = [f"{number:,}" if number else "·" for number in _of(shown, outcome)]
        table.add_row(outcome.replace("_", " "), *numbers, style="bold" if outcome == "read" else "")
        if outcome == "read":
            table.add_section()
    out.print(table)
    _print_remarks(shown)
    if seconds is not None:
        out.print(f"Took {seconds:.1f} s. Read is the sum of all the others.", highlight=False)
    _print_next(settings, shown)


def _warn_of_approved_plan(warehouse: Warehouse) -> None:
    """Say so where a plan that somebody approved was left in the middle and is about to be replaced."""
    with contextlib.suppress(PlanError):
        plan = sync.current_plan(warehouse)
        if plan.approved and not plan.loaded:
            err.print(
                f"Plan {plan.hash[:12]} was approved, and its load was interrupted. This preview replaces it."
                f" `bms-pipeline finish {plan.hash[:12]}` would go on with it (Ctrl-C now keeps it).",
                highlight=False,
            )


def _exit_with_2_unless_done(settings: Settings) -> None:
    """Say what the load left open, and exit with 2 if it did."""
    warehouse = sync.open_warehouse(settings)
    unknown, plan = sync.unknown_writes(warehouse), sync.current_plan(warehouse)
    if unknown:
        writes, until = sum(intent.writes for intent in unknown), journal.settles_at(unknown, settings.unknown_seconds)
        err.print(
            f"The answer to {writes:,} writes was lost, so it is unknown whether they took effect. Nothing was sent"
            f" twice.\nRun the same command again after {until:%H:%M:%S} UTC: it looks them up and goes on.",
            highlight=False,
        )
    elif plan.approved and not plan.loaded:
        err.print("A part of the plan is still to be loaded. Run the same command again.", highlight=False)
    else:
        return
    raise typer.Exit(2)


def _print_remarks(shown: dict[str, Any]) -> None:
    for warning in shown["warnings"]:
        out.print(f"[yellow]{escape(printable(warning))}[/]", highlight=False)
    orphaned = {entity: counts for entity, counts in shown["entities"].items() if counts["orphaned"]}
    if orphaned:
        said = ", ".join(
            f"{counts['orphaned']:,} {entity} (oldest: {counts['oldest_orphan_days']:,} days)"
            for entity, counts in orphaned.items()
        )
        text = f"Gone from BMS and kept in Passportal: {said}. `bms-pipeline orphans` lists them."
        out.print(text, highlight=False, soft_wrap=True)
    if shown["details"]["wanted"]:
        out.print(_details_line(shown["details"]), highlight=False)
    if shown["unknown"]:
        out.print(_unknown_line(shown["unknown"]), highlight=False, soft_wrap=True)
    if shown["duplicates"]:
        out.print(
            f"[yellow]{shown['duplicates']:,} BMS ids stand on several records of Passportal.[/]"
            " `bms-pipeline duplicates` lists them; `bms-pipeline keep` says which record keeps its id.",
            highlight=False,
            soft_wrap=True,
        )
    _print_no_place(shown["no_place"])
    if shown["hand_overs"]["waiting"]:
        out.print(_hand_overs_line(shown["hand_overs"]), highlight=False, soft_wrap=True)


def _print_no_place(rows: list[dict[str, Any]]) -> None:
    """Say which values are not written, a line for each template."""
    by_template: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        fields = by_template.setdefault((row["entity"], row["template"] or "?"), [])
        fields.append(f"{BY_NAME[row['entity']].labels[row['field']]} ({row['records']:,} values)")
    for (entity, template), fields in by_template.items():
        text = f"[yellow]No place in template {escape(printable(template))} of {entity} for:[/] {', '.join(fields)}."
        out.print(f"{text} They are not written.", highlight=False, soft_wrap=True)


def _unknown_line(unknown: list[dict[str, Any]]) -> str:
    listed = ", ".join(f"{each['writes']:,} {each['entity']} ({each['operation']})" for each in unknown)
    until = max(each["settles_at"] for each in unknown)
    return (
        f"[yellow]Unknown: the answer to writes was lost: {listed}.[/] They are looked up before anything is sent"
        f" again, at the latest by the first run after {until:%Y-%m-%d %H:%M:%S} UTC."
    )


def _hand_overs_line(shown: dict[str, Any]) -> str:
    overdue = f", [yellow]{shown['overdue']:,} of them overdue[/]" if shown["overdue"] else ""
    return (
        f"{shown['waiting']:,} records wait for Passportal to list them{overdue}: import each file of"
        f" {escape(os.path.relpath(shown['folder']))} once (Settings > Import / Export), then sync."
        " `bms-pipeline hand-overs` lists them."
    )


def _details_line(shown: dict[str, Any]) -> str:
    parts = [f"{shown['read']:,} of {shown['wanted']:,} assets read"]
    parts += [f"{shown[each]:,} {said}" for each, said in _DETAILS_SAID.items() if shown[each]]
    since = f", oldest of {shown['oldest_read_at']:%Y-%m-%d}" if shown["oldest_read_at"] else ""
    return f"Details: {', '.join(parts)}{since}; {shown['finished']}."


def _of(shown: dict[str, Any], outcome: str) -> list[int]:
    return [counts[outcome] for counts in shown["entities"].values()]


def _print_next(settings: Settings, shown: dict[str, Any]) -> None:
    plan = shown["plan"]
    if plan:
        stale = ", stale: make a new one with `bms-pipeline preview`" if plan["stale"] else ""
        held_back = f", {plan['held_back']:,} of them held back for a finish" if plan["held_back"] else ""
        out.print(
            f"Plan {plan['hash'][:12]} waits with {plan['operations']:,} operations{held_back}{stale}.", highlight=False
        )
    for endpoint, calls in shown["budget"].items():
        if calls["used"]:
            out.print(f"[dim]calls this hour: {calls['used']:>5} of {calls['limit']} {endpoint}[/]", highlight=False)
    command = _command(settings)
    out.print("Where to look next:", highlight=False)
    for arguments, what in (
        ("preview --saved", "why records are unmatched, ambiguous or kept"),
        ("explain assets ID", "one record's story"),
    ):
        out.print(f"  {command} {arguments}   [dim]{what}[/]", highlight=False, soft_wrap=True)
    file = os.path.relpath(settings.warehouse_file)
    out.print(f"  {file}   [dim]everything, for any DuckDB client[/]", highlight=False, soft_wrap=True)


def _command(settings: Settings) -> str:
    """What to type in this folder to reach the same home: the demo's is not the default one."""
    home = settings.bms_pipeline_home
    chosen = (
        ""
        if home == Settings.model_fields["bms_pipeline_home"].default
        else f"BMS_PIPELINE_HOME={os.path.relpath(home)} "
    )
    return chosen + ("bms-pipeline" if shutil.which("bms-pipeline") else os.path.relpath(sys.argv[0]))


def _print_overview(shown: dict[str, Any]) -> None:
    state = "stale" if shown["stale"] else "loaded" if shown["loaded"] else "waiting"
    table = Table(title=f"Plan {shown['hash'][:12]} ({state}): what happens to how many records, and why")
    for column in ("entity", "disposition", "operation", "reason"):
        table.add_column(column)
    table.add_column("records", justify="right")
    last = None
    for row in shown["reasons"]:
        if last not in (None, row["entity"]):
            table.add_section()
        last = row["entity"]
        style = "" if row["operation"] == "skip" else "bold"
        table.add_row(
            *(str(row[each]) for each in ("entity", "disposition", "operation", "reason")),
            f"{row['records']:,}",
            style=style,
        )
    out.print(table)
    for each in shown["held_back"]:
        out.print(
            f"[yellow]Held back until a finish: {each['updates']:,} {each['entity']} of client {each['client_bms_id']}"
            f" {escape(printable(each['client'] or ''))}, most of which would change at once.[/]",
            highlight=False,
        )
    _print_no_place(shown["no_place"])
    if shown["examples"]:
        out.print("Some of them, field by field:", highlight=False)
    for each in shown["examples"]:
        name = escape(printable(each["name"] or "(no name)"))
        out.print(
            f"  [bold]{each['operation']}[/] {each['entity']} {each['bms_id']} {name} ({each['reason']})",
            highlight=False,
        )
        for change in each["changes"] or ():
            before, after = printable(change["before"] or "—"), printable(change["after"])
            out.print(f"      {change['field']}: {escape(before)} → {escape(after)}", highlight=False)
        for kept in each["kept"] or ():
            values = f"Passportal keeps {printable(kept['passportal'] or '—')}, BMS has {printable(kept['bms'])}"
            out.print(f"      [dim]{kept['field']}: {escape(values)}[/]", highlight=False)


def _print_pairs(title: str, values: dict[str, Any] | None) -> None:
    out.print(f"[bold]{title}[/]", highlight=False)
    for name, value in (values or {"": "nothing"}).items():
        if value is not None:
            out.print(f"  {name:18} {escape(printable(str(value)))}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
