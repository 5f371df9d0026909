"""How the command line speaks: two consoles, a progress display, tables, JSON, and text that cannot move the cursor."""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

out = Console()
err = Console(stderr=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


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
        print(json.dumps(value, default=str, ensure_ascii=False, indent=2))


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
