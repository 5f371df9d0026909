"""The output of the command line: two consoles, a progress display, tables, JSON, and text safe for a terminal."""

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
"""The exit code where the reader closed the output, as `head` does: the code of every program ended by SIGPIPE."""

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


_PLAIN = {"·": ".", "→": "->", "…": "...", "–": "-", "×": "x"}
"""Our own signs and their ASCII forms."""


class OutputRefused(Exception):
    """Standard output or standard error cannot be written: the reader closed it, or the disk is full."""

    def __init__(self, number: int | None, why: str | None) -> None:
        super().__init__(why)
        self.is_closed_pipe = number == errno.EPIPE
        self.why = why


class _Descriptor(io.FileIO):
    """A stream's descriptor with write errors of its own type, unlike those of any other file."""

    def write(self, data: Any) -> int:  # noqa: ANN401  # any buffer
        """Write ``data``. Raise ``OutputRefused`` where the system refuses."""
        try:
            return super().write(data) or 0
        except OSError as error:
            raise OutputRefused(error.errno, error.strerror) from None


def _shown(error: UnicodeError) -> tuple[str | bytes, int]:
    """Return the replacement for characters missing from an encoding."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    first = error.object[error.start]
    if first in _PLAIN:
        return _PLAIN[first], error.start + 1
    return first.encode("ascii", "backslashreplace").decode("ascii"), error.start + 1


codecs.register_error("bms_pipeline.shown", _shown)


def open_output() -> None:
    """Make standard output and standard error take every text.

    A character they cannot show is written as its number. Text for a stream closed by the caller is dropped.
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
    """Flush the rest of the output. Raises ``OutputRefused``."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()


def drop_output() -> None:
    """Discard the rest of the output, so the end of the process does not fail on it again."""
    with contextlib.suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for descriptor in (1, 2):
            try:
                (sys.stdout if descriptor == 1 else sys.stderr).flush()
            except OutputRefused:
                os.dup2(nowhere, descriptor)


def me() -> str:
    """Return the name of the person at the keyboard, for the ledger of decisions."""
    return getpass.getuser()


def this_command() -> str:
    """Return the running command, to name it to a waiting process: ``bms-pipeline sync``."""
    return " ".join(["bms-pipeline", *sys.argv[1:2]])


def printable(text: str) -> str:
    """Return ``text`` without characters able to move the cursor or reverse the line on a terminal."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def safe(value: object) -> str:
    """Return ``value`` as text safe for a table cell or a line, with any content from a service or a file."""
    return escape(printable("" if value is None else str(value)))


def say(text: str) -> None:
    """Print one line for a person, with markup; text from services has to be ``safe``."""
    out.print(text, highlight=False, soft_wrap=True)


def print_json(value: object) -> None:
    """Print ``value`` as JSON, in colours on a terminal."""
    if out.is_terminal:
        out.print_json(json.dumps(value, default=str), highlight=False)
    else:
        in_ascii = not (sys.stdout.encoding or "").lower().startswith("utf")
        print(json.dumps(value, default=str, ensure_ascii=in_ascii, indent=2))


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], numbers: Sequence[str] = ()
) -> None:
    """Print a table; the columns named in ``numbers`` are right-aligned."""
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(f"{cell:,}" if isinstance(cell, int) else safe(cell) for cell in row))
    out.print(table)


class Bars:
    """Progress on standard error: bars on a terminal, a line for each stage elsewhere. ``beside`` is called too."""

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
    """Show the progress display inside the block; ``beside`` is called with the same progress."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:20}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bars:
        yield Bars(bars, beside)
