"""``bms-pipeline``: the commands for a terminal and for scripts.

Exit codes: 0 done, or nothing to do; 2 changes are pending (``preview``, and ``sync`` while a person has to approve);
1 an error, shown in one message on standard error.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
import typer.exceptions
from rich.markup import escape
from rich.table import Table

from bms_pipeline import backup_cli, files, lifeline, review_cli
from bms_pipeline.entities import BY_NAME, chosen
from bms_pipeline.errors import PipelineError, PlanError, SettingsError
from bms_pipeline.lifeline import Child
from bms_pipeline.on_demand import (
    journal,
    kept_open,
    matching,
    notices,
    open_warehouse,
    read_settings,
    reports,
    standings,
    sync,
)
from bms_pipeline.on_demand import preview as pages
from bms_pipeline.terminal import (
    CLOSED_PIPE,
    AsJson,
    OutputRefused,
    close_output,
    drop_output,
    err,
    me,
    open_output,
    out,
    print_json,
    print_table,
    printable,
    progress,
    this_command,
)  # fmt: skip
from bms_pipeline.warehouse.binding import without_pandas

if TYPE_CHECKING:
    from bms_pipeline.guard.store import Store
    from bms_pipeline.reconcile.plan import Plan
    from bms_pipeline.settings import Settings
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
app.add_typer(backup_cli.app)

_DETAILS_SAID = {
    "unlanded": "more read and landing with the next sync",
    "waiting": "waiting",
    "problems": "with a problem (`explain` tells)",
}

DAGSTER_PORT = 3000
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
    open_output()
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
    sys.exit(code)


def _exit_code() -> int:
    """Run the command; return its exit code."""
    try:
        with lifeline.following(), lifeline.stopped_by_signals():
            code = app(standalone_mode=False)
    except PipelineError as error:
        code = _failed(error)
    except OSError as error:
        # An error of the system has a cause and a next step wherever it happens.
        if error.errno is None or error.filename is None:
            raise
        code = _failed(files.refused(error.errno, error.filename))
    except (KeyboardInterrupt, typer.Abort):
        err.print("Stopped. What was done is kept; run the same command again to continue.")
        code = 130
    except typer.exceptions.TyperException as error:
        if error.format_message():
            err.print(f"[bold red]Error:[/] {escape(error.format_message())}", highlight=False)
            err.print("[bold]Next:[/]  Add --help to see what the command takes.", highlight=False)
        code = 1
    return code if isinstance(code, int) else 0


def _failed(error: PipelineError) -> int:
    """Show the error and the next step; return the exit code."""
    err.print(f"[bold red]Error:[/] {escape(error.message)}", highlight=False, soft_wrap=True)
    if error.next_step:
        err.print(f"[bold]Next:[/]  {escape(error.next_step)}", highlight=False, soft_wrap=True)
    return 1


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
        if passportal.advice:
            out.print(passportal.advice, style="dim", highlight=False)


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
    with ExitStack() as kept:
        with sync.running(settings, this_command()) as told, progress(told) as bars:
            if only_what_is_new:
                synced = sync.synchronise_new(settings, full=full, wait=not no_wait, progress=bars)
            else:
                synced = sync.synchronise(
                    settings,
                    entities=chosen(entity),
                    scope=_scope(client),
                    full=full,
                    create_unmatched_by=me() if create_unmatched else None,
                    wait=not no_wait,
                    progress=bars,
                )
            kept.enter_context(kept_open())  # no service is called from here on
        ended = _how_it_ended(settings)
    _print_status(settings, ended.status, as_json, time.monotonic() - started)
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
    _exit_with_2_unless_done(settings, ended)


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
    shown = pages.overview(warehouse)
    if as_json:
        print_json(shown)
    else:
        _print_overview(shown)
    for file, write in ((csv, pages.write_csv), (html, pages.write_html)):
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
    # Also for a loaded plan: a run killed at its very end has not published the state.
    with sync.running(settings, this_command()) as told, progress(told) as bars:
        loaded_at = sync.loaded_at(sync.open_warehouse(settings), plan_hash)
        if loaded_at is None:
            bars("approve", 0, None)
            with closing(sync.open_target(settings)) as target:
                sync.approve(settings, sync.open_warehouse(settings), target, plan_hash, by or me())
            sync.finish(settings, wait=not no_wait, progress=bars)
    if loaded_at is not None:
        err.print(f"Plan {escape(plan_hash)} was loaded already, at {loaded_at:%Y-%m-%d %H:%M} UTC. Nothing to do.")
    ended = _how_it_ended(settings)
    _print_status(settings, ended.status, as_json, time.monotonic() - started)
    if loaded_at is None:
        _exit_with_2_unless_done(settings, ended)


@app.command()
def approve(
    plan_hash: Annotated[str, typer.Argument(metavar="HASH", help="The plan's hash, its first 8 characters or more.")],
    by: By = None,
) -> None:
    """Approve the saved plan by its hash, and leave loading it to Dagster's jobs `finish` or `finish_clients`.

    For a Dagster web server without a log-in of ours: what is launched there loads approved plans only.
    """
    settings = read_settings()
    with sync.running(settings, this_command()) as told, progress(told) as bars:
        bars("approve", 0, None)
        with closing(sync.open_target(settings)) as target:
            plan = sync.approve(settings, sync.open_warehouse(settings), target, plan_hash, by or me())
    out.print(f"Plan {plan.hash[:12]} is approved; nothing was loaded yet.", highlight=False)


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
    """Show how the records stand, what the last sync did, the plan that waits, and the calls left this hour."""
    with without_pandas():
        settings = read_settings()
        with kept_open():
            shown = reports.status(settings, open_warehouse(settings))
    _print_status(settings, shown, as_json, None)


@app.command()
def explain(
    entity: Annotated[str, typer.Argument(help=f"One of {', '.join(BY_NAME)}.")],
    bms_id: Annotated[int, typer.Argument(metavar="ID", help="The record's id in BMS.")],
    as_json: AsJson = False,
) -> None:
    """Tell one record's story: what BMS says, what was decided and why, and what was done to it."""
    with without_pandas():
        story = reports.explain(open_warehouse(read_settings()), entity, bms_id)
    if as_json:
        print_json(story)
        return
    _print_standing(story)
    for chapter in ("in_bms", "decided", "match", "in_passportal", "plan"):
        _print_pairs(chapter.replace("_", " "), story[chapter])
    for chapter in ("decisions", "suggestions", "candidates", "history"):
        for part in story[chapter]:
            _print_pairs(chapter, part)


@app.command()
def orphans(
    entity: Entities = None,
    as_json: AsJson = False,
    csv: Annotated[Path | None, typer.Option(help="Also write them into this file.")] = None,
) -> None:
    """List what is gone from BMS and kept in Passportal, longest gone first. Nothing is ever deleted there."""
    warehouse, entities = open_warehouse(read_settings()), chosen(entity)
    found = reports.orphans(warehouse, entities)
    if as_json:
        print_json(found)
    elif found:
        columns = ("entity", "bms_id", "name", "client", "passportal_id", "missing_since", "days")
        rows = [tuple(str(row[name] if row[name] is not None else "") for name in columns) for row in found]
        print_table("Gone from BMS and kept in Passportal", columns, rows, numbers=("bms_id", "days"))
    else:
        out.print("Nothing that is matched is gone from BMS.")
    if csv is not None:
        err.print(f"{reports.write_orphans(warehouse, csv, entities):,} records in {csv}", highlight=False)


@app.command("notify-test")
def notify_test() -> None:
    """Send a test notice by every way that is set, and say which ways it went."""
    notice = notices.Notice("BMS pipeline: a test notice", "Somebody ran `bms-pipeline notify-test`. Nothing is wrong.")
    ways = notices.send(read_settings(), notice)
    if ways:
        out.print(f"A test notice went by {' and '.join(ways)}.", highlight=False)
    else:
        out.print("No way is set, so nobody is told anything. Switch one on in the environment or in .env:")
        out.print("  NOTICE_WEBHOOK_URL    [dim]Slack, Mattermost, Teams workflows[/]", highlight=False)
        out.print("  NOTICE_EMAIL_TO       [dim]with NOTICE_EMAIL_FROM and NOTICE_SMTP_HOST[/]", highlight=False)


DagsterPort = Annotated[int, typer.Option(min=0, max=65535, help="Of Dagster's pages; 0: any free port.")]


@app.command()
def dev(
    port: DagsterPort = DAGSTER_PORT,
    console_port: Annotated[int, typer.Option(min=0, max=65535, help="Of the review pages.")] = CONSOLE_PORT,
) -> None:
    """Start Dagster's pages and daemon on this home folder, and the review pages, until Ctrl-C.

    All listen on 127.0.0.1 only. A one-time code opens them: press Enter for another one. Whatever ends this command
    also ends everything that it started.
    """
    from bms_pipeline.guard.serving import listen
    from bms_pipeline.guard.store import Store

    settings = read_settings()
    with ExitStack() as stack:
        # Both before anything is started: a port in use is an error at once.
        pages, console = (stack.enter_context(listen(number)) for number in (port, console_port))
        environment = _environment(settings)
        _make_instance(environment)
        urls = {
            name: f"http://127.0.0.1:{of.getsockname()[1]}" for name, of in (("dagster", pages), ("console", console))
        }
        store = Store(settings.guard_folder)
        for name, url in urls.items():
            stack.enter_context(store.serving(name, url))
        children: dict[str, Child] = {}
        stack.callback(_end, children)
        children["Dagster's pages"] = _pages(pages, [str(WORKSPACE)], environment)
        daemon = [sys.executable, "-m", "bms_pipeline.defs.daemon", "run", "-w", str(WORKSPACE)]
        children["Dagster's daemon"] = Child(daemon, env=environment, stdin=subprocess.DEVNULL)
        review = [sys.executable, "-m", "bms_pipeline.cli", "console", "--socket", str(console.fileno())]
        children["the console"] = Child(
            review,
            env=environment | {"DAGSTER_URL": urls["dagster"]},
            pass_fds=[console.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        _offer_codes(lambda: _say_addresses(store, {url: name for name, url in urls.items()}))
        out.print("Stop with Ctrl-C.", highlight=False)
        while all(child.process.poll() is None for child in children.values()):
            time.sleep(0.3)
        ended = next(name for name, child in children.items() if child.process.poll() is not None)
    raise PipelineError(f"{ended} ended by itself; everything else was stopped.", "See its last lines above.")


@app.command("dagster-ui")
def dagster_ui(
    port: DagsterPort = DAGSTER_PORT,
    host: Annotated[str, typer.Option(help="Another one needs BMS_PIPELINE_TRUSTED_PROXY.")] = "127.0.0.1",
    workspace: Annotated[
        list[Path] | None, typer.Option("--workspace", "-w", help="Repeat for more; default: the shipped one.")
    ] = None,
) -> None:
    """Serve only Dagster's pages, behind a log-in by one-time code: instead of `dagster-webserver`, in production.

    `dagster-daemon run` is yours to run next to it. A launch from these pages counts as the approval of the person who
    signed in; a launch from any other web server does not.
    """
    from bms_pipeline.guard.serving import listen
    from bms_pipeline.guard.store import Store
    from bms_pipeline.http import is_loopback

    settings = read_settings()
    if not is_loopback(host) and not settings.bms_pipeline_trusted_proxy:
        raise SettingsError(
            f"{host} can be reached from other machines, and a code travels there in clear.",
            "Listen on 127.0.0.1 and forward the port by ssh, or put a proxy with its own log-in in front and set"
            " BMS_PIPELINE_TRUSTED_PROXY=1 and BMS_PIPELINE_HOSTS.",
        )
    environment = _environment(settings)
    with listen(port, host) as pages:
        _make_instance(environment)
        child = _pages(pages, [str(file) for file in workspace or [WORKSPACE]], environment)
        try:
            urls = {f"http://{host}:{pages.getsockname()[1]}": "dagster"}
            _offer_codes(lambda: _say_addresses(Store(settings.guard_folder), urls))
            code = child.process.wait()
        finally:
            child.end()
    raise typer.Exit(code)


@app.command()
def console(
    port: Annotated[int, typer.Option(min=0, max=65535, help="On 127.0.0.1; 0: any free port.")] = CONSOLE_PORT,
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    socket_fd: Annotated[int | None, typer.Option("--socket", hidden=True)] = None,
) -> None:
    """Serve the review pages until Ctrl-C: set up, decide, look at the plan, finish, see how it went.

    They listen on 127.0.0.1 only. A one-time code opens them: press Enter for another one.
    """
    # Imported only here: no other command needs a web server or a browser.
    import webbrowser

    from bms_pipeline.console.app import serve
    from bms_pipeline.console.shell import Console
    from bms_pipeline.guard.serving import listen

    def started(console: Console) -> None:
        store = console.guard.door.store
        if socket_fd is None:
            _offer_codes(lambda: _say_addresses(store, {console.origin: "console"}))
        if show:  # by a file: every user can read an address on a command line
            webbrowser.open(store.redirecting_file(console.new_address()).absolute().as_uri())

    listener = listen(port) if socket_fd is None else socket.socket(fileno=socket_fd)
    serve(read_settings(), listener, started)


@app.command("sign-in")
def sign_in(
    end_all: Annotated[bool, typer.Option("--end-all", help="First sign out every browser.")] = False,
) -> None:
    """Print addresses with a new one-time code for the pages that are being served on this home folder.

    A code opens one browser, once, within ten minutes; that browser is signed in to the console and Dagster for a day.
    """
    from bms_pipeline.guard.store import Store

    store = Store(read_settings().guard_folder)
    if end_all:
        store.end_all_sessions()
        err.print("Every browser is signed out.")
    served = {pages.address: pages.name for pages in store.served()}
    if not served:
        raise PipelineError("Nothing serves pages on this home folder.", "Start `bms-pipeline dev` or `console` first.")
    _say_addresses(store, served, anywhere=True)


WORKSPACE = Path(__file__).parent.parent / "workspace.yaml"


def _pages(listener: socket.socket, workspaces: Sequence[str], environment: dict[str, str]) -> Child:
    """Serve Dagster's pages on ``listener``, in a process of their own."""
    files = [part for file in workspaces for part in ("--workspace", file)]
    command = [sys.executable, "-m", "bms_pipeline.defs.pages", "--socket", str(listener.fileno()), *files]
    return Child(command, env=environment, pass_fds=[listener.fileno()], stdin=subprocess.DEVNULL)


def _end(children: dict[str, Child]) -> None:
    """End all at once, then wait for each; a second request to end changes nothing."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    for child in children.values():
        child.ask_to_end()
    for child in children.values():
        child.end()


def _environment(settings: Settings) -> dict[str, str]:
    """Return the environment of Dagster's processes: with both homes, absolute."""
    homes = {"DAGSTER_HOME": _dagster_home(settings), "BMS_PIPELINE_HOME": settings.bms_pipeline_home}
    return {**os.environ, **{name: str(home) for name, home in homes.items()}}


def _dagster_home(settings: Settings) -> Path:
    """Return Dagster's home: the exported one, else ours. A home without ``dagster.yaml`` gets ours."""
    exported = os.environ.get("DAGSTER_HOME")
    home = Path(exported).absolute() if exported else settings.bms_pipeline_home / "dagster"
    if re.search(r"%[0-9A-Fa-f]{2}|\?", str(home)):
        raise SettingsError(
            f"Dagster reads {home} as an address, where % with two digits, and ?, mean something else.",
            "Export DAGSTER_HOME with another folder; the pipeline's own home can stay.",
        )
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    shipped, file = WORKSPACE.with_name("dagster.yaml"), home / "dagster.yaml"
    if not file.exists():
        shutil.copyfile(shipped, file)
    elif file.read_bytes() != shipped.read_bytes():
        err.print(f"{file} differs from the shipped {shipped}; it is used as it is.", highlight=False, soft_wrap=True)
    return home


def _make_instance(environment: dict[str, str]) -> None:
    """Let Dagster make or open its databases, once and alone: two processes on a fresh home can break it for good."""
    command = [str(Path(sys.executable).with_name("dagster")), "instance", "info"]
    opened = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)  # noqa: S603
    if opened.returncode:
        home = environment["DAGSTER_HOME"]
        why = " ".join(line.strip() for line in opened.stderr.splitlines()[-3:])
        raise PipelineError(
            f"Dagster does not start on {home}. ({why})",
            f"Is one of its databases damaged? Move `history` and `schedules` in {home} aside: they hold past runs and"
            " ticks, and no decision. Is dagster.yaml at fault? Move it aside, and the shipped one takes its place.",
        )


def _say_addresses(store: Store, served: dict[str, str], *, anywhere: bool = False) -> None:
    """Print the addresses of the pages (address → name).

    They have a code only on a terminal, or with ``anywhere``: other output becomes a log.
    """
    from bms_pipeline.guard.door import ENTER
    from bms_pipeline.guard.store import CODE_SECONDS

    for address, name in served.items():
        if anywhere or sys.stdout.isatty():
            print(f"{name:8} {address}{ENTER}?code={store.new_code()}", flush=True)
        else:
            print(f"{name:8} {address}", flush=True)
    if anywhere or sys.stdout.isatty():
        err.print(f"Each code works once, within {CODE_SECONDS / 60:.0f} minutes.", highlight=False)
    else:
        err.print("`bms-pipeline sign-in` prints an address with a one-time code.", highlight=False)


def _offer_codes(say: Callable[[], None]) -> None:
    """Print the addresses now, and again, with new codes, at every press of Enter."""
    say()
    if not sys.stdin or not sys.stdin.isatty() or not sys.stdout.isatty():
        return
    err.print("Press Enter for a new code.")
    signal.signal(
        signal.SIGTTIN, signal.SIG_IGN
    )  # in the background nobody presses Enter, and that is no reason to halt

    def listen() -> None:
        with suppress(OSError, ValueError):
            while sys.stdin.readline():
                say()

    threading.Thread(target=listen, name="new codes", daemon=True).start()


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
            # In our own session: it shares the terminal, and Ctrl-C reaches it as it reaches us.
            child = Child(context.args, env={**os.environ, **environment}, own_session=False)
            try:
                code = child.process.wait()
            finally:
                child.end()
            raise typer.Exit(code)
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
    """Start the sandbox BMS; yield the environment to reach it."""
    # Imported only here: a sync of a real tenant must neither wait for the sandbox nor run it.
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
    """Fill a Passportal on first use, and start it if it is a service; yield the environment to reach it."""
    from bms_pipeline.sandbox.passportal import fill_passportal
    from bms_pipeline.sandbox.process import running_passportal

    if target == "embedded":
        from bms_pipeline.settings import Settings

        settings = Settings(_env_file=None, bms_pipeline_home=home)  # type: ignore[call-arg]  # pydantic adds it
        fill_passportal(settings.passportal_file, home / "tenant")
        yield {"PASSPORTAL_TARGET": target}
    else:
        with running_passportal(home / "passportal", home / "tenant") as running:
            yield running.environment()


def _scope(clients: Sequence[int] | None) -> matching.Scope:
    return matching.Scope(clients=tuple(clients) if clients else None)


@dataclass(frozen=True)
class _Ended:
    """The state after a run: the status, the writes without answer, and the current plan."""

    status: dict[str, Any]
    unknown: list[journal.Open]
    plan: Plan


def _how_it_ended(settings: Settings) -> _Ended:
    """Read everything shown after a run, so no other process waits for the warehouse during the printing."""
    warehouse = open_warehouse(settings)
    with kept_open():
        return _Ended(reports.status(settings, warehouse), sync.unknown_writes(warehouse), sync.current_plan(warehouse))


def _print_status(settings: Settings, shown: dict[str, Any], as_json: bool, seconds: float | None) -> None:
    if as_json:
        print_json(shown)
        return
    rare = (*standings.RARE, "pending")
    _print_counts("The last sync, by outcome. Read is the sum of the others", shown["entities"], reports.COUNTS, rare)
    _print_counts("How the records stand now", shown["standings"], tuple(standings.Standing), rare)
    _print_remarks(shown)
    if seconds is not None:
        out.print(f"Took {seconds:.1f} s.", highlight=False)
    _print_next(settings, shown)


def _warn_of_approved_plan(warehouse: Warehouse) -> None:
    """Warn where an approved plan was left in the middle and is about to be replaced."""
    with suppress(PlanError):
        plan = sync.current_plan(warehouse)
        if plan.approved and not plan.loaded:
            err.print(
                f"Plan {plan.hash[:12]} was approved, and its load was interrupted. This preview replaces it."
                f" `bms-pipeline finish {plan.hash[:12]}` would go on with it (Ctrl-C now keeps it).",
                highlight=False,
            )


def _exit_with_2_unless_done(settings: Settings, ended: _Ended) -> None:
    """Exit with 2 where the load left something open, after a message about it."""
    unknown, plan = ended.unknown, ended.plan
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


def _print_counts(
    title: str, counts: dict[str, dict[str, int]], names: Sequence[str], only_where_any: Sequence[str]
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
        table.add_row(name.replace("_", " "), *shown, style="bold" if is_sum else "", end_section=is_sum)
    out.print(table)


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
    """Print the values without a place in Passportal, a line for each template."""
    by_template: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        fields = by_template.setdefault((row["entity"], row["template"] or "?"), [])
        fields.append(f"{BY_NAME[row['entity']].labels[row['field']]} ({row['records']:,} values)")
    for (entity, template), fields in by_template.items():
        text = f"[yellow]No place in template {escape(printable(template))} of {entity} for:[/] {', '.join(fields)}."
        out.print(f"{text} They are not written.", highlight=False, soft_wrap=True)


def _unknown_line(unknown: list[dict[str, Any]]) -> str:
    listed = ", ".join(f"{intent['writes']:,} {intent['entity']} ({intent['operation']})" for intent in unknown)
    until = max(intent["settles_at"] for intent in unknown)
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
    parts += [f"{shown[key]:,} {said}" for key, said in _DETAILS_SAID.items() if shown[key]]
    since = f", oldest of {shown['oldest_read_at']:%Y-%m-%d}" if shown["oldest_read_at"] else ""
    return f"Details: {', '.join(parts)}{since}; {shown['finished']}."


def _print_next(settings: Settings, shown: dict[str, Any]) -> None:
    plan = shown["plan"]
    if plan:
        what = f"takes back plan {plan['undoes']} and waits" if plan["undoes"] is not None else "waits"
        stale = ", stale: make a new one with `bms-pipeline preview`" if plan["stale"] else ""
        waiting = plan["held_back"] + plan["unproved"]
        held_back = f", {waiting:,} of them held back for a finish" if waiting else ""
        out.print(
            f"Plan {plan['hash'][:12]} {what} with {plan['operations']:,} operations{held_back}{stale}. Load it with"
            f" `bms-pipeline finish {plan['hash'][:12]}`.",
            highlight=False,
            soft_wrap=True,
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
    """Return the command to type in this folder for the same home: the demo's is not the default one."""
    home = settings.bms_pipeline_home
    chosen = (
        ""
        if home == type(settings).model_fields["bms_pipeline_home"].default
        else f"BMS_PIPELINE_HOME={os.path.relpath(home)} "
    )
    return chosen + ("bms-pipeline" if shutil.which("bms-pipeline") else os.path.relpath(sys.argv[0]))


def _print_overview(shown: dict[str, Any]) -> None:
    table = Table(title=f"Plan {shown['hash'][:12]} ({shown['state']}): what happens to how many records, and why")
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
            *(str(row[column]) for column in ("entity", "disposition", "operation", "reason")),
            f"{row['records']:,}",
            style=style,
        )
    out.print(table)
    for held in shown["held_back"]:
        out.print(
            f"[yellow]Held back until a finish: {held['updates']:,} {held['entity']} of client {held['client_bms_id']}"
            f" {escape(printable(held['client'] or ''))}, most of which would change at once.[/]",
            highlight=False,
        )
    _print_no_place(shown["no_place"])
    if shown["examples"]:
        out.print("Some of them, field by field:", highlight=False)
    for example in shown["examples"]:
        name = escape(printable(example["name"] or "(no name)"))
        out.print(
            f"  [bold]{example['operation']}[/] {example['entity']} {example['bms_id']} {name} ({example['reason']})",
            highlight=False,
        )
        for change in example["changes"] or ():
            out.print(
                f"      {change['field']}: {_value(change['before'])} → {_value(change['after'])}", highlight=False
            )
        if example["releases"] is not None:
            out.print(f"      Passportal {_value(example['releases'])} loses its BMS id", highlight=False)
        for kept in example["kept"] or ():
            there, elsewhere = _value(kept["passportal"]), _value(kept["bms"])
            said = f"it was {elsewhere} before that load" if shown["undoes"] is not None else f"BMS has {elsewhere}"
            out.print(f"      [dim]{kept['field']}: Passportal keeps {there}, {said}[/]", highlight=False)
    _print_what_waits(shown)


def _print_what_waits(shown: dict[str, Any]) -> None:
    """Print the state of the plan, so nobody takes a plan with work left for a finished one."""
    short = shown["hash"][:12]
    if shown["loaded"]:
        text = f"Plan {short} is loaded."
        if shown["refused"]:
            text += f" Passportal refused {shown['refused']:,} of its operations; `bms-pipeline status` counts them."
    elif not shown["operations"]:
        waiting = sum(counts["needs a decision"] + counts["blocked"] for counts in shown["totals"].values())
        text = "There is nothing to load" + (f"; {waiting:,} records wait for a decision." if waiting else ".")
    else:
        whole = "Load it" if shown["undoes"] is None else f"It takes back plan {shown['undoes']}; load it"
        text = (
            f"{shown['left']:,} of {shown['operations']:,} operations wait. {whole} with `bms-pipeline finish {short}`."
        )
    out.print(text, highlight=False, soft_wrap=True)


def _value(value: str | None) -> str:
    """Return a field's value for the terminal; one side may have none."""
    return escape(printable(value)) if value is not None else "—"


def _next_step(story: dict[str, Any], about: str) -> str:
    """Return the next step for the record of ``story``, which waits for ``about``."""
    steps = standings.NextStep
    said = {
        steps.NOTHING: "nothing is to be done",
        steps.SYNC: "the next `bms-pipeline sync` does it",
        steps.PLAN: "make a new plan with `bms-pipeline preview`",
        steps.FINISH: "`bms-pipeline finish {plan}`, after a look at `bms-pipeline preview --saved`",
        steps.DECIDE: "decide about it: `bms-pipeline suggest {record}`, then `match`, `create` or `exclude`",
        steps.INCLUDE: "`bms-pipeline include {record}`, if it is to be synced",
        steps.IMPORT_FILE: "import its file into Passportal once: `bms-pipeline hand-overs`",
        steps.CHANGE_SETTINGS: "`bms-pipeline settings` shows what is left out",
        steps.CORRECT: "correct what Passportal refuses; the next `bms-pipeline sync` tries again",
        steps.LOOK_IN_BMS: "see in BMS which account it belongs to",
    }
    stands = story["standing"]
    return said[stands["next_step"]].format(record=about, plan=(stands["plan_hash"] or "")[:12])


def _print_standing(story: dict[str, Any]) -> None:
    """Print the state of a record, its reason, the record it waits for, and the next step."""
    stands = story["standing"]
    if stands is None:
        out.print("It is gone from BMS and was never matched.", highlight=False)
        return
    client, record = stands["waits_for"], f"{story['entity']} {story['bms_id']}"
    is_blocked = client is not None and stands["standing"] is standings.Standing.BLOCKED
    rows = {
        "stands": f"{stands['standing']}: {stands['means']}",
        "why": pages.why(stands["reason"]),
        "detail": stands["detail"],
    }
    if client is not None:
        name = f"{client['name'] or '(no name)'}, {client['standing']}" if client["standing"] else "not listed by BMS"
        rows["waits for"] = f"clients {client['bms_id']} {name}"
    if stands["blocks"]:
        rows["keeps waiting"] = ", ".join(f"{records:,} {entity}" for entity, records in stands["blocks"].items())
    about = f"clients {client['bms_id']}" if is_blocked else record
    rows["next"] = _next_step(story, about)
    _print_pairs("standing", rows)


def _print_pairs(title: str, values: dict[str, Any] | None) -> None:
    out.print(f"[bold]{title}[/]", highlight=False)
    for name, value in (values or {"": "nothing"}).items():
        if value is not None:
            out.print(f"  {name:18} {escape(printable(str(value)))}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
