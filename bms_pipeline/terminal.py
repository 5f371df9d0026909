"""How the command line speaks: two consoles, a progress display, tables, JSON, and text that cannot move the cursor."""

from __future__ import annotations

import codecs
import contextlib
import errno
import getpass
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

out = Console()
err = Console(stderr=True)

CLOSED_PIPE = 141
"""The exit code where the reader closed the output, as `head` does: that of every program which SIGPIPE ends."""

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


_PLAIN = {"·": ".", "→": "->", "…": "...", "–": "-", "×": "x"}
"""Our own signs, as ASCII shows them."""


class OutputRefused(Exception):
    """Standard output or standard error took no more: the reader closed it, or the disk is full."""

    def __init__(self, number: int | None, why: str | None) -> None:
        super().__init__(why)
        self.is_closed_pipe = number == errno.EPIPE
        self.why = why


class _Descriptor(io.FileIO):
    """A stream's descriptor whose refusals can be distinguished from those of any other file."""

    def write(self, data: Any) -> int:  # noqa: ANN401  # any buffer
        """Raise ``OutputRefused`` where the system refuses."""
        try:
            return super().write(data) or 0
        except OSError as error:
            raise OutputRefused(error.errno, error.strerror) from None


def _shown(error: UnicodeError) -> tuple[str | bytes, int]:
    """What to write for characters that an encoding does not have."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    first = error.object[error.start]
    if first in _PLAIN:
        return _PLAIN[first], error.start + 1
    return first.encode("ascii", "backslashreplace").decode("ascii"), error.start + 1


codecs.register_error("bms_pipeline.shown", _shown)


def open_output() -> None:
    """Make standard output and standard error take every text.

    A character that they cannot show is written as its number. A stream that the caller closed takes what it gets.
    """
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115  # until the process ends
        elif isinstance(stream, io.TextIOWrapper) and stream.fileno() == descriptor:
            stream.flush()
            binary = io.BufferedWriter(_Descriptor(descriptor, "w", closefd=False))
            made = io.TextIOWrapper(binary, stream.encoding, "bms_pipeline.shown", line_buffering=stream.line_buffering)
            setattr(sys, name, made)


def close_output() -> None:
    """Write what is left of the output. Raises ``OutputRefused``."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()


def drop_output() -> None:
    """Let what is left of the output go nowhere, so that the end of the process does not fail on it again."""
    with contextlib.suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for descriptor in (1, 2):
            try:
                (sys.stdout if descriptor == 1 else sys.stderr).flush()
            except OutputRefused:
                os.dup2(nowhere, descriptor)


def me() -> str:
    """Who is at the keyboard, for the record of decisions."""
    return getpass.getuser()


def this_command() -> str:
    """The command under way, for whoever is kept waiting by it: ``bms-pipeline sync``."""
    return " ".join(["bms-pipeline", *sys.argv[1:2]])


def printable(text: str) -> str:
    """``text`` without what would move the cursor or turn the line around on somebody's terminal."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


def safe(value: object) -> str:
    """``value`` as a table cell or a line may show it, whatever a service or a file put into it."""
    return escape(printable("" if value is None else str(value)))


def say(text: str) -> None:
    """One line for a person, with markup; what services sent has to be ``safe``."""
    out.print(text, highlight=False, soft_wrap=True)


def print_json(value: object) -> None:
    """``value`` as JSON, in colours on a terminal."""
    if out.is_terminal:
        out.print_json(json.dumps(value, default=str), highlight=False)
    else:
        in_ascii = not (sys.stdout.encoding or "").lower().startswith("utf")
        print(json.dumps(value, default=str, ensure_ascii=in_ascii, indent=2))


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], numbers: Sequence[str] = ()
) -> None:
    """A table; the columns named in ``numbers`` are set to the right."""
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(f"{each:,}" if isinstance(each, int) else safe(each) for each in row))
    out.print(table)


class Bars:
    """Progress on standard error: bars on a terminal, a line for each stage elsewhere. ``beside`` is told the same."""

    def __init__(self, bars: Progress, beside: Callable[[str, int, int | None], None] | None = None) -> None:
        self._bars = bars
        self._beside = beside
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """See ``sync.Progress``."""
        if self._beside is not None:
            self._beside(stage, done, total)
        if stage not in self._tasks:
            for task in self._tasks.values():
                self._bars.update(task, visible=not self._bars.tasks[task].finished)
                self._bars.stop_task(task)
            self._tasks[stage] = self._bars.add_task(stage, total=total)
            if not err.is_terminal:
                err.print(stage, highlight=False)
        self._bars.update(self._tasks[stage], completed=done, total=total)


@contextmanager
def progress(beside: Callable[[str, int, int | None], None] | None = None) -> Iterator[Bars]:
    """The progress display, for as long as something takes; ``beside`` is told the same."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:20}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bars:
        yield Bars(bars, beside)
