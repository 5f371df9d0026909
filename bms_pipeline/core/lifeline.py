"""Child processes that end with their parent, however it ends: by Ctrl-C, by a signal, or killed.

::

    parent ── write end ══ pipe ══ read end ── child

Only the parent has the write end. When the parent is gone, the kernel closes the pipe, and the child ends itself.
(Linux could signal a child instead, but it does so when the parent's *thread* ends.)
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import psutil

from bms_pipeline.core.vocabulary import OwnVariable

FOLLOWS = OwnVariable.FOLLOWS
"""The environment variable with the pipe to follow, as ``descriptor:inode``."""
PATIENCE_SECONDS = 15.0
"""Longest time for a process to end by itself."""


class Stopped(KeyboardInterrupt):
    """A signal asked this process to end."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = 128 + number


class Child:
    """A process that ends with this one. With ``own_session``, its own children end, too."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        own_session: bool = True,
        pass_fds: Sequence[int] = (),
        **options: Any,  # noqa: ANN401  # of Popen
    ) -> None:
        self._own_session = own_session
        read, self._write = os.pipe()
        try:
            self.process = subprocess.Popen(  # noqa: S603  # a list of arguments, from our own code
                command,
                env={**env, FOLLOWS: f"{read}:{os.fstat(read).st_ino}"},
                start_new_session=own_session,
                pass_fds=(*pass_fds, read),
                **options,
            )
        except BaseException:
            os.close(self._write)
            raise
        finally:
            os.close(read)

    def ask_to_end(self) -> None:
        """Send SIGTERM, if it still runs."""
        if self.process.poll() is None:
            self.process.terminate()

    def end(self) -> int:
        """End the process, and with ``own_session`` its children; return its exit code."""
        self.ask_to_end()
        try:
            self.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
        if self._own_session:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.let_go()
        return self.process.wait()

    def let_go(self) -> None:
        """Close the pipe. Use it after the process has ended, or to let the process notice and end."""
        if self._write >= 0:
            os.close(self._write)
            self._write = -1


@contextlib.contextmanager
def following() -> Iterator[None]:
    """End with the parent, if it asked for it. The leader of a session also ends its children.

    The leader of a session ignores no SIGINT: a shell's ``command &`` passes that on to everything below it, and
    Dagster handles SIGTERM as it handles SIGINT, so that its code servers and runs would not end by either.
    """
    pipe = os.environ.pop(FOLLOWS, "")
    if not pipe or not _is_open(pipe):
        yield
        return
    descriptor = int(pipe.partition(":")[0])
    os.set_inheritable(descriptor, False)
    if os.getsid(0) == os.getpid() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_follow, args=[descriptor], name="follow the parent", daemon=True).start()
    with stopped_by_signals():
        try:
            yield
        finally:
            _end_session()


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Raise ``Stopped`` at SIGTERM and SIGHUP, so that cleanup runs. Under ``nohup``, SIGHUP stays ignored.

    SIGTERM is handled also where the parent ignored it: whoever sends it wants an end.
    """

    def stop(number: int, _: object) -> None:
        raise Stopped(number)

    before = {}
    replaced = {signal.SIGTERM: (signal.SIG_DFL, signal.SIG_IGN), signal.SIGHUP: (signal.SIG_DFL,)}
    for number, handlers in replaced.items():
        if signal.getsignal(number) in handlers and threading.current_thread() is threading.main_thread():
            before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_open(pipe: str) -> bool:
    """Return whether the descriptor still is the pipe: a process in between may have closed it."""
    descriptor, _, inode = pipe.partition(":")
    try:
        status = os.fstat(int(descriptor))
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(status.st_mode) and str(status.st_ino) == inode


def _follow(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        while os.read(descriptor, 1):
            pass
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(PATIENCE_SECONDS)
    _end_session()
    os._exit(1)


def _end_session() -> None:
    """Kill the rest of this process's group, if this process leads its session."""
    if os.getsid(0) != os.getpid():
        return
    for process in _others_of_this_group():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(process, signal.SIGKILL)


def _others_of_this_group() -> list[int]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if process.pid != os.getpid() and os.getpgid(process.pid) == os.getpgid(0):
                found.append(process.pid)
    return found
