"""CSV as spreadsheet programs write it: comma, semicolon or tab, UTF-8 or UTF-16, with or without a line ``sep=;``.

The number of a line is the line on which its record starts, as a text editor counts.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

from bms_pipeline.core.errors import DecisionFileInvalid
from bms_pipeline.spreadsheet.cells import Cell, Place, Report, Row, Value, escape_formula, file_refusal

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# Excel's own first line, also if another program saved it again: in quotes, with a delimiter for each empty cell.
_SEPARATOR_LINE = re.compile(r'\s*"?sep=(?P<delimiter>[^"\r\n])"?[,;\t|]*\s*', re.IGNORECASE)


class CsvReader:
    """Reads one CSV file. The column names in ``known`` reveal the delimiter."""

    def __init__(self, file: Path, report: Report, known: Iterable[str]) -> None:
        self._file = file
        self._report = report
        self._known = frozenset(known)
        self._kept: frozenset[Place] | None = None

    def keep(self, places: Iterable[Place]) -> None:
        """See ``Reader``."""
        self._kept = frozenset(places)

    def rows(self) -> Iterator[Row]:
        """See ``Reader``."""
        with self._file.open("rb") as stream:
            encoding = "utf-16" if stream.read(2) in _UTF16 else "utf-8-sig"
        try:
            with self._file.open(encoding=encoding, newline="") as stream:
                yield from self._rows(stream)
        except UnicodeError as error:  # a UTF-16 mark without UTF-16 after it raises another kind of UnicodeError
            raise _unreadable(self._file, encoding) from error

    def _rows(self, stream: io.TextIOBase) -> Iterator[Row]:
        first, skipped = stream.readline(), 0
        separator = _SEPARATOR_LINE.fullmatch(first)
        if separator:
            first, skipped = stream.readline(), 1
        if "\0" in first:
            raise _unreadable(self._file, "utf-8")
        delimiter = self._delimiter(first, separator["delimiter"] if separator else ",")
        width = 0
        lines = chain([first], self._without_nul(stream, skipped + 2))
        for number, record in self._records(lines, delimiter):
            line = number + skipped
            width = width or len(record)
            if len(record) > width:
                what = f"{len(record)} cells, but the header has {width}; is a quote missing?"
                self._report.add(line, what)
            else:
                yield line, self._cells(record)

    def _cells(self, record: Sequence[str]) -> dict[Place, Cell]:
        if self._kept is None:
            return dict(enumerate(record))
        return {place: cell for place, cell in enumerate(record) if place in self._kept}

    def _records(self, lines: Iterable[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
        """Yield each record with the line on which it starts. After a broken record, go on with the next line."""
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        while True:
            line = reader.line_num + 1
            try:
                record = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                self._report.add(line, f"a quote that is not closed, or not doubled inside a cell ({error})")
                continue
            if record:
                yield line, record

    def _without_nul(self, lines: Iterable[str], first: int) -> Iterator[str]:
        for number, line in enumerate(lines, start=first):
            if "\0" in line:
                self._report.add(number, "a NUL byte")
                yield line.replace("\0", "")
            else:
                yield line

    def _delimiter(self, header: str, otherwise: str) -> str:
        def columns_found(delimiter: str) -> int:
            cells = next(csv.reader([header], delimiter=delimiter), [])
            return len({cell.strip().lower() for cell in cells} & self._known)

        try:
            return str(max(dict.fromkeys((otherwise, *",;\t")), key=columns_found))
        except (csv.Error, ValueError):
            return ","


def _unreadable(file: Path, encoding: str) -> DecisionFileInvalid:
    line, why = 1, "it looks like UTF-16 without its mark"
    content = file.read_bytes()
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line = 1 + before.count(b"\n") + before.count(b"\r") - before.count(b"\r\n")
        why = f"the byte 0x{content[error.start]:02x} is not valid there"
    what = "is broken UTF-16" if encoding == "utf-16" else f"is not UTF-8: line {line}: {why}"
    return file_refusal(file, what, 'Save it as "CSV UTF-8 (Comma delimited)" in Excel, or as XLSX, and import again.')


def write_csv(file: Path, header: Sequence[str], rows: Iterable[Sequence[Value]]) -> int:
    """Write ``rows`` below ``header``; return the number of rows."""
    with file.open("w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\r\n")
        writer.writerow(header)
        count = 0
        for row in rows:
            writer.writerow([escape_formula(cell) if isinstance(cell, str) else cell for cell in row])
            count += 1
        return count
