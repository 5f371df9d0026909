"""Who a process is, and whether it is alive, also where it runs in another container or on another machine.

A number alone proves nothing. Each container counts its own processes from 1, and a machine uses a number again::

    is the process one of those seen from here?
    ├── yes: the table of processes says it      → alive, or dead
    └── no:  is its last heartbeat fresh?
             ├── yes                              → alive
             └── no: ask its code server, if any  → dead only where that does not know it or is gone; else unknown
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import msgspec
import psutil

from bms_pipeline.core.vocabulary import Life

BEAT_EVERY_SECONDS = 10.0
"""How often a run shows that it is alive."""
SILENT_SECONDS = 45.0
"""Without a heartbeat for this long, a run that cannot be seen from here may be dead."""
_SAME_START_SECONDS = 2.0
_PROC = Path("/proc")


class Process(msgspec.Struct, frozen=True):
    """The identity of a process, which no other process of any machine shares.

    ``boot`` identifies the start of the machine and ``namespace`` the container's own count of processes. Only Linux
    has both; elsewhere they are empty, and there ``host`` alone says where the number counts. ``started`` is when the
    process began: seconds since the machine's start on Linux, where no change of the clock moves it, else of the clock.
    """

    host: str
    boot: str
    namespace: str
    pid: int
    started: float

    @property
    def is_here(self) -> bool:
        """Whether the process counts among those seen from here."""
        return _place() is not None and (self.host, self.boot, self.namespace) == _place()

    def __str__(self) -> str:
        """The process in words: with its machine, where that is another one or another container."""
        return f"process {self.pid}" if self.is_here else f"process {self.pid} of {self.host}, not seen from here"


def this_process() -> Process:
    """Return the identity of this process."""
    host, boot, namespace = _place() or (socket.gethostname(), "", "unseen")
    return Process(host, boot, namespace, os.getpid(), _started("self") or 0.0)


def process_here(pid: int) -> Process | None:
    """Return the identity of a process of ours; None where it is gone."""
    started = _started(str(pid))
    return None if started is None else msgspec.structs.replace(this_process(), pid=pid, started=started)


def life_of(process: Process | None, silent_seconds: float, ask: Callable[[], Life] = lambda: Life.UNKNOWN) -> Life:
    """Return whether a run is alive, dead or unknown. This is the only place that decides it.

    ``process`` is None where the run left no identity. ``silent_seconds`` have passed since its last heartbeat, or
    since its start. ``ask`` asks its starter: dead means not known there, or nobody is there any more.
    """
    if process is not None and process.is_here:
        return Life.ALIVE if _is_in_table(process) else Life.DEAD
    return Life.ALIVE if silent_seconds < SILENT_SECONDS else ask()


@contextlib.contextmanager
def beating(beat: Callable[[], None]) -> Iterator[None]:
    """Call ``beat`` now, and every 10 seconds in a thread of its own until the block ends."""
    ended = threading.Event()

    def go_on() -> None:
        while not ended.wait(BEAT_EVERY_SECONDS):
            beat()

    beat()
    thread = threading.Thread(target=go_on, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@cache
def _place() -> tuple[str, str, str] | None:
    """Return the host, its boot id and the pid namespace; None where the table of processes is not of this namespace.

    The last is so under ``unshare --pid`` without a new ``/proc``: there the table belongs to the outer namespace.
    """
    host = socket.gethostname()
    if not _PROC.joinpath("self", "ns", "pid").exists():
        return host, "", ""
    try:
        boot = _PROC.joinpath("sys", "kernel", "random", "boot_id").read_text(encoding="ascii").strip()
        namespace = str(_PROC.joinpath("self", "ns", "pid").stat().st_ino)
        is_own_table = str((_PROC / "self").readlink()) == str(os.getpid())
    except OSError:
        return None
    return (host, boot, namespace) if is_own_table else None


def _is_in_table(process: Process) -> bool:
    try:
        if psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE:
            return False
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True  # it is there, and may not be looked at
    started = _started(str(process.pid))
    return started is not None and abs(started - process.started) <= _SAME_START_SECONDS


def _started(pid: str) -> float | None:
    """Return when a process began; None where it is gone."""
    if _PROC.joinpath("self", "stat").exists():
        try:
            fields = (
                _PROC.joinpath(pid, "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            )
        except OSError:
            return None
        return int(fields[19]) / os.sysconf("SC_CLK_TCK")
    with contextlib.suppress(psutil.Error):
        return psutil.Process(None if pid == "self" else int(pid)).create_time()
    return None
