"""The commands which serve pages: Dagster's, the review console, and the codes to sign in."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
import typer.exceptions

from bms_pipeline.cli.on_demand import (
    read_settings,
)
from bms_pipeline.cli.output import (  # fmt: skip
    err,
    out,
)
from bms_pipeline.core.errors import PipelineError, SettingsError
from bms_pipeline.core.lifeline import Child

if TYPE_CHECKING:
    from bms_pipeline.core.settings import Settings
    from bms_pipeline.guard.store import Store

app = typer.Typer()

DAGSTER_PORT = 3000


CONSOLE_PORT = 3001


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
        environment |= {"DAGSTER_URL": urls["dagster"], "CONSOLE_URL": urls["console"]}
        store = Store(settings.guard_folder)
        for name, url in urls.items():
            stack.enter_context(store.serving(name, url))
        children: dict[str, Child] = {}
        stack.callback(_end, children)
        workspace = str(_workspace(settings))
        children["Dagster's pages"] = _pages(pages, [workspace], environment)
        daemon = [sys.executable, "-m", "bms_pipeline.defs.instance.daemon", "run", "-w", workspace]
        children["Dagster's daemon"] = Child(daemon, env=environment, stdin=subprocess.DEVNULL)
        review = [sys.executable, "-m", "bms_pipeline.cli", "console", "--socket", str(console.fileno())]
        children["the console"] = Child(
            review,
            env=environment,
            pass_fds=[console.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        served = {url: name for name, url in urls.items()}
        _offer_codes(lambda: _say_addresses(settings, store, served))
        out.print("Stop with Ctrl-C.", highlight=False)
        _say_when_ready(store, served)
        while all(child.process.poll() is None for child in children.values()):
            time.sleep(0.3)
        ended = next(name for name, child in children.items() if child.process.poll() is not None)
    raise PipelineError(f"{ended} ended by itself; everything else was stopped.", "See its last lines above.")


@app.command("dagster-ui")
def dagster_ui(
    port: DagsterPort = DAGSTER_PORT,
    host: Annotated[str, typer.Option(help="Another one needs BMS_PIPELINE_TRUSTED_PROXY.")] = "127.0.0.1",
    workspace: Annotated[
        list[Path] | None,
        typer.Option("--workspace", "-w", help="Repeat for more; default: that of this folder, else the shipped one."),
    ] = None,
) -> None:
    """Serve only Dagster's pages, behind a log-in by one-time code: instead of `dagster-webserver`, in production.

    `dagster-daemon run` is yours to run next to it. A launch from these pages counts as the approval of the person who
    signed in; a launch from any other web server does not.
    """
    from bms_pipeline.core.http import is_loopback
    from bms_pipeline.guard.serving import listen
    from bms_pipeline.guard.store import Store

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
        child = _pages(pages, [str(file) for file in workspace or [_workspace(settings)]], environment)
        try:
            urls = {f"http://{host}:{pages.getsockname()[1]}": "dagster"}
            _offer_codes(lambda: _say_addresses(settings, Store(settings.guard_folder), urls))
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

    from bms_pipeline.console.app import serve_console
    from bms_pipeline.console.context import Console
    from bms_pipeline.guard.serving import listen

    settings = read_settings()

    def started(console: Console) -> None:
        store = console.guard.door.store
        if socket_fd is None:
            _offer_codes(lambda: _say_addresses(settings, store, {console.origin: "console"}))
        if show:  # by a file: every user can read an address on a command line
            webbrowser.open(store.redirecting_file(console.new_address()).absolute().as_uri())

    listener = listen(port) if socket_fd is None else socket.socket(fileno=socket_fd)
    serve_console(settings, listener, started)


@app.command("sign-in")
def sign_in(
    end_all: Annotated[bool, typer.Option("--end-all", help="First sign out every browser.")] = False,
) -> None:
    """Print addresses with a new one-time code for the pages that are being served on this home folder.

    A code opens one browser, once, within ten minutes; that browser is signed in to the console and Dagster for a day.
    """
    from bms_pipeline.guard.store import Store

    settings = read_settings()
    store = Store(settings.guard_folder)
    if end_all:
        store.end_all_sessions()
        err.print("Every browser is signed out.")
    served = {pages.address: pages.name for pages in store.served()}
    if not served:
        raise PipelineError(
            f"Nothing serves pages on the home folder {settings.bms_pipeline_home}.",
            "Start `bms-pipeline dev` or `console` first. If they serve another home folder, name it:"
            " BMS_PIPELINE_HOME=FOLDER bms-pipeline sign-in.",
        )
    _say_addresses(settings, store, served, anywhere=True)


WORKSPACE = Path(__file__).parent.parent / "shipped" / "workspace.yaml"


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
    """Return Dagster's home, as set or below ours. A home without ``dagster.yaml`` gets the shipped one."""
    from bms_pipeline.core.files import write_new
    from bms_pipeline.sync.new_folder import check_dagster_home, compared, shipped_text

    home = settings.dagster_folder
    check_dagster_home(home)
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = home / "dagster.yaml"
    if file.is_symlink() and not file.exists():  # a person moved the file of the folder
        file.unlink()
    if not write_new(file, shipped_text(file.name)) and compared(file).differs:
        err.print(f"{file} differs from the shipped one; it is used as it is.", highlight=False, soft_wrap=True)
    return home


def _workspace(settings: Settings) -> Path:
    """Return the ``workspace.yaml`` of the current folder, as Dagster's own commands do; else the shipped one.

    Under a tenant's name the shipped one names the code location after the tenant, because links lead there.
    """
    from bms_pipeline.core.files import atomic_write
    from bms_pipeline.sync.new_folder import compared, shipped_text

    own, name = Path("workspace.yaml").absolute(), settings.bms_pipeline_name
    is_shipped = not own.exists() or not compared(own).differs
    if is_shipped and name:
        named = settings.dagster_folder / "workspace.yaml"
        with atomic_write(named) as file:
            shipped = shipped_text("workspace.yaml")
            file.write_text(shipped.replace("location_name: bms_pipeline", f"location_name: {name}"), encoding="utf-8")
        return named
    if not own.exists():
        return WORKSPACE
    if not is_shipped:
        err.print(f"{own} differs from the shipped one; it is used as it is.", highlight=False, soft_wrap=True)
    return own


def _make_instance(environment: dict[str, str]) -> None:
    """Let Dagster make or open its databases, once and alone: two processes on a fresh home can break it for good."""
    command = [sys.executable, "-m", "bms_pipeline.defs.instance.opening"]
    opened = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)  # noqa: S603
    if opened.returncode:
        home = environment["DAGSTER_HOME"]
        why = " ".join(line.strip() for line in opened.stderr.splitlines()[-3:])
        raise PipelineError(
            f"Dagster does not start on {home}. ({why})",
            f"Is one of its databases damaged? Move `history` and `schedules` in {home} aside: they hold past runs and"
            " ticks, and no decision. Is dagster.yaml at fault? Move it aside, and the shipped one takes its place.",
        )


def _say_addresses(settings: Settings, store: Store, served: dict[str, str], *, anywhere: bool = False) -> None:
    """Print the addresses of the pages (address → name).

    They have a code only on a terminal, or with ``anywhere``: other output becomes a log.
    """
    from bms_pipeline.cli.printing import command_here
    from bms_pipeline.guard.store import CODE_SECONDS

    for line in _addresses(store, served, with_codes=anywhere or sys.stdout.isatty()):
        print(line, flush=True)
    if anywhere or sys.stdout.isatty():
        err.print(f"Each code works once, within {CODE_SECONDS / 60:.0f} minutes.", highlight=False)
    else:
        text = f"`{command_here(settings)} sign-in` prints an address with a one-time code."
        err.print(text, highlight=False, soft_wrap=True)


def _addresses(store: Store, served: dict[str, str], *, with_codes: bool) -> list[str]:
    """Return a line for each address, each with a new one-time code if asked for."""
    from bms_pipeline.guard.door import ENTER

    return [
        f"{name:8} {address}{ENTER}?code={store.new_code()}" if with_codes else f"{name:8} {address}"
        for address, name in served.items()
    ]


def _say_when_ready(store: Store, served: dict[str, str]) -> None:
    """Once all pages answer, print the addresses again in a frame: by then the first lines have scrolled away."""
    from urllib.parse import urlsplit

    from rich.panel import Panel

    def wait() -> None:
        for address in served:
            place = urlsplit(address)
            while not _answers(str(place.hostname), place.port or 80):
                time.sleep(0.5)
        lines = _addresses(store, served, with_codes=sys.stderr.isatty())
        frame = Panel("\n".join(lines), title="Ready", title_align="left", expand=False, padding=(0, 1))
        err.print(frame, highlight=False, soft_wrap=True)

    threading.Thread(target=wait, name="ready", daemon=True).start()


def _answers(host: str, port: int) -> bool:
    import http.client

    connection = http.client.HTTPConnection(host, port, timeout=60)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status > 0
    except OSError:
        return False
    finally:
        connection.close()


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
