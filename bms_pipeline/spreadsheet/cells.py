"""Cells: their allowed content, the escaping of formulas, and the mistakes in a file.

A spreadsheet program runs a cell that looks like a formula, and names come from strangers. In CSV such a cell gets a
leading apostrophe. In XLSX every text is stored as a text. A text that already looks like an escaped one gets a further
apostrophe in both formats. Reading removes one, and so returns the written text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Protocol

from bms_pipeline.core.errors import DecisionFileInvalid

MISTAKES_SHOWN = 20
LARGEST_FILE = 100 * 1024**2
LARGEST_UNPACKED = 512 * 1024**2

# Excel's limit is 32,767 UTF-16 units, and a character takes one or two.
_LONGEST_TEXT = 16_000
_NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_FORMULA_LIKE = re.compile(r"'*\s*[=+\-@\t\r]")


@dataclass(frozen=True)
class Unusable:
    """A cell of a spreadsheet without a reliable value."""

    what: str


Cell = str | Unusable
Value = str | int | float | None
Place = int | str
"""A column: its number in CSV, its letters in XLSX."""
Row = tuple[int, Mapping[Place, Cell]]
"""The number of a line as the spreadsheet shows it, and its cells."""


class SheetReader(Protocol):
    """An open file."""

    def rows(self) -> Iterator[Row]:
        """Yield each line with content."""
        ...

    def keep(self, places: Iterable[Place]) -> None:
        """From now on, return only the cells of these columns."""
        ...


def plain_cell(cell: Cell) -> Cell:
    """Return the cell without surrounding blanks and without the escaping apostrophe of a formula."""
    if not cell or isinstance(cell, Unusable):
        return cell
    text = cell.strip()
    return text[1:].strip() if text[:1] == "'" and _FORMULA_LIKE.match(text) else text


def escape_formula(text: str) -> str:
    """Return ``text`` for a cell of a CSV file, escaped so that no spreadsheet takes it for a formula."""
    text = storable(text)
    return f"'{text}" if _FORMULA_LIKE.match(text) else text


def storable(text: str) -> str:
    """Return ``text`` as every format can hold it: no control characters, and not too long."""
    return _NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", text[:_LONGEST_TEXT])


def shown_cell(value: str) -> str:
    """Return ``value`` for a message: its content must not move a terminal's cursor, nor fill its screen."""
    escaped = repr(value[:61])
    return escaped if len(escaped) <= 60 else f"{escaped[:59]}…"


def file_refusal(file: Path, what: str, next_step: str) -> DecisionFileInvalid:
    """Return the error for refusing ``file`` as a whole."""
    name = file.name if file.name.isprintable() else repr(file.name)
    return DecisionFileInvalid(f"{name} {what}", f"{next_step} Nothing was applied.")


@dataclass
class Report:
    """The mistakes in the lines of one file, and notes for the person about anything else."""

    file: Path
    notes: list[str] = field(default_factory=list)
    hidden: set[int] = field(default_factory=set)
    """Lines hidden in the spreadsheet."""
    _mistakes: list[tuple[int, str]] = field(default_factory=list)

    def add(self, line: int, what: str) -> None:
        """Record a mistake."""
        self._mistakes.append((line, what))

    def refuse(self, next_step: str = "Correct them and import again.") -> None:
        """Raise ``DecisionFileInvalid`` with all mistakes, in the order of their lines, if there are any."""
        if not self._mistakes:
            return
        count = len(self._mistakes)
        listed = [f"line {line}: {what}" for line, what in sorted(self._mistakes, key=itemgetter(0))[:MISTAKES_SHOWN]]
        if count > MISTAKES_SHOWN:
            listed.append(f"and {count - MISTAKES_SHOWN} more")
        has = "1 mistake" if count == 1 else f"{count} mistakes"
        raise file_refusal(self.file, f"has {has}:\n" + "\n".join(listed), next_step)


def ranges(lines: Iterable[int]) -> str:
    """Return ``lines`` for a message: 4, 7-9."""
    found: list[list[int]] = []
    for line in sorted(lines):
        if found and line == found[-1][1] + 1:
            found[-1][1] = line
        else:
            found.append([line, line])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in found)
