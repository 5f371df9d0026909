"""Run commands of the product in children of one warm process, and strike them; `python -m` with the shim preloaded.

A child is forked for each command, after all imports and before any thread: it starts within milliseconds and is a
process of its own, which may be killed. Orders come as JSON lines on standard input and are answered on standard
output by ``{"code": exit code, or minus the signal}``.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import json
import os
import re
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal
from unittest import mock
from urllib.parse import urlsplit

import duckdb  # noqa: F401  # before the fork
import pandas as pd  # noqa: F401  # before the fork
import time_machine
import urllib3.connection

from bms_pipeline.bms.client import BmsClient
from bms_pipeline.cli import app, on_demand
from bms_pipeline.core.entities import CLIENTS, USERS
from bms_pipeline.core.errors import PipelineError
from bms_pipeline.core.settings import read_settings
from bms_pipeline.load import journal
from bms_pipeline.passportal.documents import pace
from bms_pipeline.passportal.documents.target import DocumentsPassportal
from bms_pipeline.passportal.embedded import EmbeddedPassportal
from bms_pipeline.spreadsheet import decisions  # noqa: F401  # its spreadsheet library takes a while to load
from bms_pipeline.sync import loading, planning, run_lock, services, whole_sync
from bms_pipeline.warehouse import connection
from bms_pipeline.warehouse.connection import open_warehouse

BATCH_SIZE = 6
"""Small, so that a tiny tenant's load is made of several calls."""

Call = Literal["call-before", "call-sent", "call-answered"]
Step = Literal["step-before", "step-after", "torn", "enospc", "eio"]
Kind = Call | Step | Literal["record", "none"]

_MODES = {"none": 1, "record": 2, "step-before": 3, "step-after": 4, "torn": 5, "enospc": 6, "eio": 7}
_ANSWER_SECONDS = 30.0
BACKFILL = "backfill"
"""Instead of a command: load client by client, as the Dagster asset `loaded_by_client` does."""
FINISH_CLIENTS = "finish-clients"
"""Instead of a command: approve a plan and load its users and clients, as the Dagster job `finish_clients` does."""


@dataclass(frozen=True)
class Order:
    """Run ``arguments`` in ``home``, armed with ``kind`` at the ``nth`` step or call named ``what``.

    ``report``: where the shim and the calls write what they saw or struck. ``output``: where both streams go.
    ``kept_open``: keep the databases open in the process, which saves half of the time and is for runs whose disk
    nobody strikes. ``services``: port → name. ``ahead``: how many seconds the clock of this process runs ahead.
    """

    home: str
    arguments: list[str]
    environment: dict[str, str]
    output: str
    report: str
    kind: Kind = "none"
    what: str = ""
    nth: int = 0
    kept_open: bool = False
    services: dict[str, str] = field(default_factory=dict)
    ahead: float = 0

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))


def main() -> None:
    """Obey orders until standard input ends."""
    on_demand.import_all()
    calm()
    for line in sys.stdin:
        order = Order(**json.loads(line))
        child = os.fork()
        if child == 0:
            os._exit(obey(order))
        _, status = os.waitpid(child, 0)
        print(json.dumps({"code": os.waitstatus_to_exitcode(status)}), flush=True)


def calm() -> None:
    """Make runs alike and quick: one thread each, small batches, no sleep between two tries."""
    connection.CONFIG["threads"] = 1
    EmbeddedPassportal.batch_size = DocumentsPassportal.batch_size = BATCH_SIZE
    mock.patch.object(pace, "LOOK_AGAIN_AFTER", (0.01, 0.02)).start()
    mock.patch.object(services, "BmsClient", functools.partial(BmsClient, sleep=lambda _: None)).start()


def obey(order: Order) -> int:
    """Be the process that runs the command; its exit code."""
    os.environ.clear()
    os.environ.update(order.environment)
    os.chdir(order.home)
    os.umask(0o077)
    output = os.open(order.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    report = os.open(order.report, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(output, stream)
    sys.argv = ["bms-pipeline", *order.arguments]
    try:
        with (
            time_machine.travel(time.time() + order.ahead) if order.ahead else nullcontext(),
            kept_open() if order.kept_open else nullcontext(),
        ):
            arm(order, report)
            return _exit_code(order.arguments)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        gc.collect()  # as at the end of any process: what nobody closed is closed
        sys.stdout.flush()
        sys.stderr.flush()


@contextmanager
def kept_open() -> Iterator[None]:
    """Keep the databases of this home open, if they can be opened at all; a command says itself what is wrong."""
    from bms_pipeline_tests.running import kept_open as kept

    with ExitStack() as stack:
        with suppress(Exception):
            stack.enter_context(kept(read_settings()))
        yield


def _exit_code(arguments: list[str]) -> int:
    try:
        if arguments[0] in _INSTEAD:
            _INSTEAD[arguments[0]](*arguments[1:])
            return 0
        app.main()
    except SystemExit as end:
        return int(end.code or 0)
    except PipelineError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1


def backfill(*clients: str) -> None:
    """Load what is inside ``clients`` as the Dagster asset does: what is unknown is waited for without the lock."""
    settings = read_settings()
    warehouse = open_warehouse(settings)
    for _ in range(1 + loading.LOOKS_FOR_UNKNOWN):
        with run_lock.running(settings, "A backfill"):
            for group in whole_sync.import_clients(settings, [int(client) for client in clients]):
                for client in group:
                    if client.failed_because:
                        raise PipelineError(f"client {client.client}: {client.failed_because}")
            finished = loading.close(warehouse, planning.current_plan(warehouse))
        if not finished.unknown:
            return
        until = journal.settles_at(finished.unknown, settings.unknown_seconds)
        time.sleep(max(0.0, (until - connection.now()).total_seconds()))
    raise PipelineError(f"still unknown: {finished.unknown}")


def finish_clients(plan_hash: str) -> None:
    """Approve the plan and load its users and clients as the Dagster job does."""
    settings = read_settings()
    warehouse, target = open_warehouse(settings), services.open_target(settings)
    with run_lock.running(settings, "A job"):
        plan = planning.approve(settings, warehouse, target, plan_hash, "a person")
        for entity in (USERS, CLIENTS):
            loading.load(settings, warehouse, target, entity, plan)


_INSTEAD: dict[str, Callable[..., None]] = {BACKFILL: backfill, FINISH_CLIENTS: finish_clients}


def arm(order: Order, report: int) -> None:
    """Let the chosen step or call strike from now on."""
    is_call = order.kind.startswith("call-")
    mode = _MODES["none" if is_call else order.kind]
    function, _, pattern = order.what.partition("@")
    ctypes.CDLL(None).strike_arm(
        mode, order.home.encode(), function.encode(), (pattern or "*").encode(), ctypes.c_long(order.nth), report
    )
    if is_call or order.kind == "record":
        Calls(order, report).watch()


@dataclass
class Calls:
    """The HTTP calls of this process, counted by method and path."""

    order: Order
    report: int
    seen: int = 0
    struck: set[int] = field(default_factory=set)

    def watch(self) -> None:
        """Look at each call from now on."""
        cls = urllib3.connection.HTTPConnection
        cls.request = self._requesting(cls.request)  # type: ignore[method-assign]
        cls.getresponse = self._answering(cls.getresponse)  # type: ignore[method-assign]

    def _requesting(self, request: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(request)
        def requesting(conn: Any, method: str, url: str, *more: Any, **options: Any) -> None:
            name = call_name(self.order.services.get(str(conn.port), ""), method, url)
            if self.order.kind == "record":
                os.write(self.report, f"call\t{name}\n".encode())
            strikes = name == self.order.what
            self.seen += strikes
            strikes = strikes and self.seen == self.order.nth
            if strikes and self.order.kind == "call-before":
                self._die(name)
            request(conn, method, url, *more, **options)
            if strikes and self.order.kind == "call-sent":
                self._die(name)
            conn.struck_by = name if strikes else ""

        return requesting

    def _answering(self, getresponse: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(getresponse)
        def answering(conn: Any) -> Any:
            if conn.struck_by:  # its answer is on the way, and is never read
                select.select([conn.sock], [], [], _ANSWER_SECONDS)
                self._die(conn.struck_by)
            return getresponse(conn)

        return answering

    def _die(self, name: str) -> None:
        os.write(self.report, f"call\t{name}\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)


def call_name(service: str, method: str, url: str) -> str:
    """What a call is counted by: its service, method and path, each number in it as ``{n}``."""
    return f"{service} {method} {re.sub(r'[0-9]+(?=/|$)', '{n}', urlsplit(url).path)}"


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    main()
