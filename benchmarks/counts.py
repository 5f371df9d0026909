"""What a sync costs in figures that are the same on every machine: calls, openings of the database, statements.

A first sync and one with nothing new, as typed (``sync``) and as scheduled (``sync --incremental``). Seconds are
printed too: those in which a call was under way, and what came on top of them.
"""

from __future__ import annotations

import contextlib
import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import duckdb

from benchmarks.whole_tenant import Figure, running
from bms_pipeline.cli import app
from bms_pipeline.core.http import Service
from bms_pipeline.core.settings import Settings
from bms_sandbox.tenant import Size

TARGETS = {"openings": "≤ 10", "statements": "≤ 150"}
SECONDS_ON_TOP = {"small": "≤ 0.4", "typical": "≤ 0.7"}


@dataclass
class Counted:
    """What was counted. ``seconds_in_calls``: time in which at least one call was under way."""

    calls: int = 0
    openings: int = 0
    statements: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    seconds_in_calls: float = 0.0
    _under_way: int = 0
    _since: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def call(self) -> Iterator[None]:
        """Count one call and the time that it is under way."""
        with self._lock:
            self.calls += 1
            if not self._under_way:
                self._since = time.perf_counter()
            self._under_way += 1
        try:
            yield
        finally:
            with self._lock:
                self._under_way -= 1
                if not self._under_way:
                    self.seconds_in_calls += time.perf_counter() - self._since


@contextmanager
def counting() -> Iterator[Counted]:
    """Count what this process does inside. An in-memory database is not an opening."""
    counted = Counted()
    connect, execute, send = duckdb.connect, duckdb.DuckDBPyConnection.execute, Service._send

    def connected(database: str = ":memory:", *arguments: Any, **more: Any) -> duckdb.DuckDBPyConnection:
        counted.openings += database != ":memory:"
        return connect(database, *arguments, **more)

    def executed(connection: duckdb.DuckDBPyConnection, *arguments: Any, **more: Any) -> duckdb.DuckDBPyConnection:
        counted.statements += 1
        return execute(connection, *arguments, **more)

    def sent(service: Service, *arguments: Any, **more: Any) -> object:
        with counted.call():
            return send(service, *arguments, **more)

    began, cpu_began = time.perf_counter(), time.process_time()
    with (
        mock.patch.object(duckdb, "connect", connected),
        mock.patch.object(duckdb.DuckDBPyConnection, "execute", executed),
        mock.patch.object(Service, "_send", sent),
    ):
        yield counted
    counted.seconds, counted.cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began


def measured(size: Size) -> Iterator[Figure]:
    """The figures: what, how much, the target."""
    with running(size) as settings, _typed_in(settings):
        first = _counted("sync", "--create-unmatched")
        yield from _figures(size, "first sync", first)
        for _ in range(2):  # the first finish is itself something new, and what it wrote is read once
            _counted("sync")
        for what, arguments in {
            "nothing new, as typed": ("sync",),
            "nothing new, as scheduled": ("sync", "--incremental"),
        }.items():
            counted = min((_counted(*arguments) for _ in range(3)), key=lambda each: each.seconds)
            yield from _figures(size, what, counted, TARGETS, SECONDS_ON_TOP.get(size, "none"))


def _figures(
    size: str, what: str, counted: Counted, targets: dict[str, str] | None = None, on_top: str = "none"
) -> Iterator[Figure]:
    for name in ("calls", "openings", "statements"):
        yield f"{size}: {what}, {name}", getattr(counted, name), (targets or {}).get(name, "none")
    yield f"{size}: {what}, CPU seconds", counted.cpu_seconds, "none"
    yield f"{size}: {what}, seconds in calls", counted.seconds_in_calls, "none"
    yield f"{size}: {what}, seconds on top of its calls", counted.seconds - counted.seconds_in_calls, on_top


@contextmanager
def _typed_in(settings: Settings) -> Iterator[None]:
    """An environment in which a command that is typed finds ``settings``."""
    found = {
        "BMS_URL": settings.bms_url,
        "BMS_TENANT": settings.bms_tenant,
        "BMS_USERNAME": settings.bms_username,
        "BMS_PASSWORD": settings.bms_password.get_secret_value(),
        "BMS_PIPELINE_HOME": str(settings.bms_pipeline_home),
        "BMS_CALLS_PER_HOUR": str(settings.bms_calls_per_hour),
    }
    with mock.patch.dict(os.environ, found):
        yield


def _counted(*arguments: str) -> Counted:
    """Run one command of ``bms-pipeline`` in this process."""
    run: Callable[..., object] = app.app
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown), counting() as counted:
        run(list(arguments), standalone_mode=False)
    return counted
