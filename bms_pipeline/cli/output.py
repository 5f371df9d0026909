"""The output of the command line: two consoles, a progress display, tables, JSON, and text safe for a terminal."""

from __future__ import annotations

import codecs
import contextlib
import dataclasses
import errno
import getpass
import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from bms_pipeline.cli import json_log
from bms_pipeline.core.entities import BY_NAME
from bms_pipeline.core.vocabulary import Disposition

out = Console()
err = Console(stderr=True)

CLOSED_PIPE = 141
"""The exit code where the reader closed the output, as `head` does: the code of every program ended by SIGPIPE."""

StageProgress = Callable[[str, int, int | None], None]
"""A callback for the progress of a stage, like ``sync.Progress``: the stage, how many are done, and of how many."""

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


def entity_names() -> list[str]:
    """Return the entities, for the completion of a shell."""
    return list(BY_NAME)


def disposition_names() -> list[str]:
    """Return the dispositions, for the completion of a shell."""
    return list(map(str, Disposition))


_PLAIN = {"·": ".", "→": "->", "…": "...", "–": "-", "×": "x", "✓": "+", "✗": "x"}
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


def terminal_text(text: str) -> str:
    """Return ``text`` without characters able to move the cursor or reverse the line on a terminal."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def safe(value: object) -> str:
    """Return ``value`` as text safe for a table cell or a line, with any content from a service or a file."""
    return escape(terminal_text("" if value is None else str(value)))


def say(text: str) -> None:
    """Print one line for a person, with markup; text from services has to be ``safe``."""
    out.print(text, highlight=False, soft_wrap=True)


def print_json(value: object) -> None:
    """Print ``value``, which may be a dataclass, as JSON, in colours on a terminal."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if out.is_terminal:
        out.print_json(json.dumps(value, default=str), highlight=False)
    else:
        in_ascii = not (sys.stdout.encoding or "").lower().startswith("utf")
        print(json.dumps(value, default=str, ensure_ascii=in_ascii, indent=2))


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], numbers: Sequence[str] = ()
) -> None:
    """Print a table as wide as the terminal at most; the columns named in ``numbers`` are right-aligned.

    Cells wrap between words, never inside one. Where even that does not fit, each row becomes a block of lines.
    """
    texts = [[_cell(value) for value in row] for row in rows]
    widths = _column_widths([columns, *texts], out.width - 3 * len(columns) - 1)
    if widths is None:
        _print_blocks(title, columns, texts)
        return
    table = Table(title=title, title_justify="left")
    for column, width in zip(columns, widths, strict=True):
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold", width=width)
    for row in texts:
        table.add_row(*map(safe, row))
    out.print(table)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else terminal_text(str(value))


def _column_widths(rows: Sequence[Sequence[str]], room: int) -> list[int] | None:
    """Return a width for each column: its longest word or more, ``room`` in all; None where the words do not fit."""
    columns = list(zip(*rows, strict=True))
    widths = [max(cell_len(word) for text in column for word in (text.split() or [""])) for column in columns]
    spare = room - sum(widths)
    if spare < 0:
        return None
    lacking = [max(map(cell_len, column)) - width for column, width in zip(columns, widths, strict=True)]
    # The columns that lack least first: what they do not need is for the others.
    for rank, place in enumerate(sorted(range(len(columns)), key=lacking.__getitem__)):
        more = min(lacking[place], spare // (len(columns) - rank))
        widths[place] += more
        spare -= more
    return widths


def _print_blocks(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print each row as a block: its first cell, and below it the others with their names."""
    say(f"[italic]{safe(title)}[/]")
    indent = max(map(len, columns[1:]), default=0)
    for first, *others in rows:
        say(f"[bold]{safe(first)}[/]")
        for column, text in zip(columns[1:], others, strict=True):
            if text:
                say(f"  {column:{indent}}  {safe(text)}")


class _Count(ProgressColumn):
    """The count of the active stage; nothing while there is none."""

    def render(self, task: Task) -> Text:
        """Return ``120 of 600``, ``120``, or nothing."""
        return Text(_count(int(task.completed), None if task.total is None else int(task.total)))


def _count(done: int, total: int | None) -> str:
    """Return a count for people: ``120 of 600``, ``600``, or nothing where nothing was counted."""
    if total is not None and done < total:
        return f"{done:,} of {total:,}"
    return f"{done:,}" if done else ""


class Stages:
    """Progress on standard error: one live line for the active stage, and above it a line for each ended stage.

    Without a terminal only ended stages are printed, as plain text. Each report is passed on to ``also``.
    """

    def __init__(self, live: Progress, also: StageProgress | None = None) -> None:
        self._live = live
        self._task: TaskID | None = None
        self._also = also
        self._stage: str | None = None
        self._done, self._began = 0, 0.0
        self._total: int | None = None

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """See ``sync.Progress``."""
        if self._also is not None:
            self._also(stage, done, total)
        if self._task is None or stage != self._stage:
            self.end()
            self._stage, self._began = stage, time.monotonic()
            self._task = self._live.add_task(safe(stage), total=total)
        self._done, self._total = done, total
        self._live.update(self._task, completed=done, total=total)

    def end(self, *, failed: bool = False) -> None:
        """Print the line of the ended stage: whether it reached its end, its count and its seconds."""
        if self._task is None:
            return
        self._live.remove_task(self._task)
        self._live.refresh()
        self._task, stage = None, safe(self._stage)
        seconds = f"{time.monotonic() - self._began:.1f} s"
        is_part = self._total is not None and self._done < self._total
        count = _count(self._done, self._total)
        lines = json_log.lines_in_use()
        if lines is not None:
            spent = round(time.monotonic() - self._began, 3)
            ended = {"done": self._done, "total": self._total, "seconds": spent, "failed": failed}
            lines.emit("error" if failed else "info", f"{stage}: {count or seconds}", stage=self._stage, **ended)
        elif not err.is_terminal:
            line = ", ".join(part for part in (count, seconds) if part)
            err.print(f"{stage}: {'stopped, ' if failed else ''}{line}", highlight=False, soft_wrap=True)
        else:
            mark = "[red]✗[/]" if failed else "·" if is_part else "[green]✓[/]"
            self._live.console.print(f"{mark} {stage:24} {count:>16} {seconds:>9}", highlight=False)


@contextmanager
def progress(also: StageProgress | None = None) -> Iterator[Stages]:
    """Show the stages reported inside the block. An exception marks the active stage as failed."""
    columns = (
        SpinnerColumn("dots" if err.encoding.startswith("utf") else "line"),
        TextColumn("{task.description:24}"),
        BarColumn(20),
        _Count(),
        TimeElapsedColumn(),
    )
    is_quiet = not err.is_terminal or json_log.lines_in_use() is not None
    with Progress(*columns, console=err, transient=True, disable=is_quiet) as live:
        stages = Stages(live, also)
        try:
            yield stages
        except BaseException:
            stages.end(failed=True)
            raise
        stages.end()
