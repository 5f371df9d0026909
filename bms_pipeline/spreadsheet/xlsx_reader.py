"""Read XLSX. Rows are read as XML and not by openpyxl, which takes a minute for 100,000 lines."""

from __future__ import annotations

import contextlib
import posixpath
import re
import struct
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain
from lzma import LZMAError
from pathlib import Path
from typing import cast
from xml.etree.ElementTree import Element, ParseError, XMLPullParser
from zipfile import BadZipFile, ZipFile

from openpyxl.styles.numbers import BUILTIN_FORMATS, is_date_format
from openpyxl.utils import column_index_from_string, get_column_letter
from openpyxl.utils.cell import range_boundaries

from bms_pipeline.spreadsheet.cells import (
    LARGEST_UNPACKED,
    Cell,
    Place,
    Report,
    Row,
    Unusable,
    file_refusal,
    shown_cell,
    storable,
)
from bms_pipeline.spreadsheet.xlsx_writer import SHEET_ROWS

# A number in a spreadsheet has 15 digits; the rest is rounded.
_EXACT_NUMBERS = 10**15
_NAMESPACES = (
    "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}",
    "{http://purl.oclc.org/ooxml/spreadsheetml/main}",
    "{http://schemas.openxmlformats.org/package/2006/relationships}",
)
_ESCAPED = re.compile("_x([0-9A-Fa-f]{4})_")
# Number formats for dates in East Asian versions of Excel, which have no format code.
_DATE_NUMBERS = frozenset({*range(27, 37), *range(50, 59)})
# Larger pieces keep so many elements alive at a time that the garbage collector doubles the time.
_PIECE = 1 << 15
# More than any row, shared text or list of styles has. The limits keep a file from filling the memory, be it with one
# huge cell, with foreign elements, or with nested elements.
_MOST_TAGS = 600_000
_MOST_BYTES = 32 * 1024**2

_BROKEN = (
    *(BadZipFile, zlib.error, LZMAError, struct.error, ParseError, EOFError),
    # A missing part, an invalid number, a compression or encryption unknown to zipfile.
    *(LookupError, ValueError, ArithmeticError, RuntimeError),
)


class XlsxReader:
    """Reads one sheet of an XLSX file: the one of the given name, or the first."""

    def __init__(self, file: Path, report: Report, sheet: str) -> None:
        self._file = file
        self._report = report
        self._name = sheet
        self._kept: frozenset[Place] | None = None
        self._sheet: _Sheet | None = None

    def keep(self, places: Iterable[Place]) -> None:
        """See ``Reader``."""
        self._kept = frozenset(places)
        if self._sheet is not None:
            self._sheet.pass_over_all_but(map(str, self._kept))

    def rows(self) -> Iterator[Row]:
        """See ``Reader``. At the end, merged cells of the kept columns are mistakes."""
        try:
            # Opened here, because a ZipFile leaves its own file open as long as one of its parts is open.
            with self._file.open("rb") as stream, ZipFile(stream) as archive:
                unpacked = sum(part.file_size for part in archive.infolist())
                if unpacked > LARGEST_UNPACKED:
                    what = f"unpacks to {unpacked // 1024**2} MB, of at most {LARGEST_UNPACKED // 1024**2}"
                    raise file_refusal(self._file, what, "Keep only lines that have a decision, or split it.")
                self._sheet = _Sheet(archive, self._name)
                yield from self._rows(self._sheet)
        except _BROKEN as error:
            what = f"cannot be read as XLSX: {shown_cell(str(error) or type(error).__name__)}"
            next_step = "Open it in the spreadsheet program, save it without a password as XLSX (or CSV UTF-8)"
            raise file_refusal(self._file, what, f"{next_step} and import that.") from error

    def _rows(self, sheet: _Sheet) -> Iterator[Row]:
        if sheet.unread:
            names = ", ".join(map(shown_cell, sheet.unread))
            self._report.notes.append(f"Only the sheet {shown_cell(sheet.name)} is read; not read: {names}.")
        for line, row in sheet.rows():
            if row.get("hidden") in ("1", "true"):
                self._report.hidden.add(line)
            yield line, dict(sheet.cells(row, self._kept))
        for merged in sheet.merged:
            self._refuse_merged(merged)

    def _refuse_merged(self, where: str) -> None:
        """Report merged cells as a mistake: only the first has the value, so the others look empty."""
        first_column, first, last_column, last = range_boundaries(where)
        columns = {get_column_letter(place) for place in range(first_column or 1, (last_column or 1) + 1)}
        if columns & (self._kept or frozenset()):
            of = f" (to line {last})" if last != first else ""
            self._report.add(first or 1, f"the cells {where} are merged{of}; unmerge them and fill each")


class _Sheet:
    """The sheet of a name, or the first. ``unread``: names of the other sheets with rows."""

    def __init__(self, archive: ZipFile, name: str) -> None:
        self._archive = archive
        workbook = _targets(archive, "")["officeDocument"][0][1]
        parts = _targets(archive, workbook)
        sheets = _sheets(archive, workbook, dict(parts["worksheet"]))
        self.name, self._part = next((sheet for sheet in sheets if sheet[0].strip().lower() == name), sheets[0])
        self.unread = [title for title, part in sheets if part != self._part and _has_rows(archive, part)]
        self.merged: list[str] = []
        self._date_styles = frozenset(chain.from_iterable(_date_styles(archive, part) for _, part in parts["styles"]))
        self._texts = [
            _text(element) for _, part in parts["sharedStrings"] for element in _elements(_pieces(archive, part), "si")
        ]
        self._passed_over: re.Pattern[bytes] | None = None

    def rows(self) -> Iterator[tuple[int, Element]]:
        """Yield each row with its number. After the last one, ``merged`` has the ranges of merged cells."""
        line = 0
        pieces = self._without_passed_over(_pieces(self._archive, self._part))
        for row in _elements(pieces, "row", "mergeCell", until="mergeCells"):
            if row.tag.endswith("}mergeCell"):
                self.merged.append(row.attrib["ref"])
                continue
            line = int(row.get("r", line + 1))
            if line > SHEET_ROWS:
                raise ValueError(f"row {line} of a sheet, which has {SHEET_ROWS}")
            yield line, row

    def cells(self, row: Element, wanted: Collection[Place] | None = None) -> Iterator[tuple[str, Cell]]:
        """Yield the cells of the ``wanted`` columns (or all), with their column letters."""
        namespace = _namespace(row)
        letters = ""
        for cell in row:
            where = cell.get("r")
            letters = where.rstrip("0123456789") if where else _next_letters(letters)
            if wanted is None or letters in wanted:
                yield letters, self._cell(cell, namespace)

    def pass_over_all_but(self, columns: Iterable[str]) -> None:
        """From now on, rows may lack the cells of all other columns: skipping them saves most of the time."""
        kept = "|".join(columns)
        cell = rf'<c r="(?!(?:{kept})[0-9])[A-Z]{{1,3}}[0-9]+"[^<>]*(?:/>|(?<!/)>.{{0,500}}?</c>)'
        self._passed_over = re.compile(cell.encode(), re.DOTALL)

    def _without_passed_over(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the pieces without the skipped cells, as far as plain text shows them.

        Outside of comments, CDATA and processing instructions, a ``<`` always begins a tag. From the first of these on,
        the parser gets everything unchanged. The same happens if a producer writes cells in another way.
        """
        rest = b""
        is_plain = True
        for piece in pieces:
            rest += piece
            is_plain = is_plain and b"<!" not in rest and b"<?" not in rest.removeprefix(b"<?xml ")
            # Cut no tag in two. If no tag ends here, pass on everything.
            end = (rest.rfind(b">") + 1 if is_plain else 0) or len(rest)
            is_plain = is_plain and rest[end - 1 : end] == b">"
            whole, rest = rest[:end], rest[end:]
            yield self._passed_over.sub(b"", whole) if is_plain and self._passed_over else whole
        yield rest

    def _cell(self, cell: Element, namespace: str) -> Cell:
        kind = cell.get("t", "n")
        formula = cell.find(f"{namespace}f")
        # LibreOffice writes the truth values that people enter as formulas.
        if formula is not None and (formula.text or "").strip().upper() not in ("TRUE()", "FALSE()"):
            return Unusable("a formula, not a value")
        if kind == "inlineStr":
            inline = cell.find(f"{namespace}is")
            return "" if inline is None else _text(inline)
        text = cell.findtext(f"{namespace}v")
        if kind == "n" and text:
            return _number(text, is_date=int(cell.get("s", 0)) in self._date_styles)
        return self._other_value(kind, text) if text else ""

    def _other_value(self, kind: str, text: str) -> Cell:
        match kind:
            case "s":
                return self._texts[int(text)]
            case "b":
                return "true" if text == "1" else "false"
            case "d":
                return Unusable("a date, not a value")
            case "e":
                return Unusable(f"an error, {shown_cell(text)}")
        return _unescaped(text)


def _number(text: str, *, is_date: bool) -> Cell:
    if is_date:
        return Unusable("a date, not a value")
    number = float(text)
    if abs(number) >= _EXACT_NUMBERS:
        return Unusable("a number of more than 15 digits, which spreadsheets round; format it as text, then enter it")
    return str(int(number)) if number.is_integer() else text


def _text(element: Element) -> str:
    """Return the text of a cell, plain or in runs, without its phonetic readings."""
    namespace = _namespace(element)
    plain, run = f"{namespace}t", f"{namespace}r"
    pieces = (part.text if part.tag == plain else part.findtext(plain) for part in element if part.tag in (plain, run))
    return _unescaped("".join(piece or "" for piece in pieces))


def _unescaped(text: str) -> str:
    return storable(_ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)) if "_x" in text else text


def _next_letters(letters: str) -> str:
    return get_column_letter(column_index_from_string(letters) + 1) if letters else "A"


def _namespace(element: Element) -> str:
    return element.tag[: element.tag.index("}") + 1]


def _pieces(archive: ZipFile, part: str) -> Iterator[bytes]:
    with archive.open(part) as stream:
        while piece := stream.read(_PIECE):
            yield piece


def _elements(pieces: Iterable[bytes], *names: str, until: str | None = None) -> Iterator[Element]:
    """Yield each complete element of ``names`` in a part, up to the end of the first ``until``.

    Clears each after use.
    """
    wanted = frozenset(f"{namespace}{name}" for namespace in _NAMESPACES for name in names)
    last = frozenset(f"{namespace}{until}" for namespace in _NAMESPACES)
    # expat has refused exploding entities since 2.4.1, and Python's own copy is newer.
    parser: XMLPullParser[Element] = XMLPullParser(("end",))
    tags = size = 0
    for piece in chain(pieces, [None]):
        if piece is None:
            parser.close()
        else:
            tags, size = tags + piece.count(b"<"), size + len(piece)
            if tags > _MOST_TAGS or size > _MOST_BYTES:
                raise ValueError(
                    f"a {names[0]} is too large: more than {_MOST_TAGS:,} tags or {_MOST_BYTES // 1024**2} MB"
                )
            parser.feed(piece)
        for event in cast("Iterator[tuple[str, Element]]", parser.read_events()):
            element = event[1]
            if element.tag in wanted:
                yield element
                element.clear()
                tags = size = 0
            elif element.tag in last:
                return


def _targets(archive: ZipFile, part: str) -> dict[str, list[tuple[str, str]]]:
    """Return the parts referenced by ``part``, as (id, part) by kind."""
    folder, name = posixpath.split(part)
    targets: dict[str, list[tuple[str, str]]] = {
        kind: [] for kind in ("officeDocument", "worksheet", "styles", "sharedStrings")
    }
    for relation in _elements(_pieces(archive, posixpath.join(folder, "_rels", f"{name}.rels")), "Relationship"):
        kind = posixpath.basename(relation.attrib["Type"])
        if kind in targets:
            target = posixpath.normpath(posixpath.join("/", folder, relation.attrib["Target"])).lstrip("/")
            targets[kind].append((relation.attrib["Id"], target))
    return targets


def _sheets(archive: ZipFile, workbook: str, parts: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return name and part of each sheet; ``parts``: the sheets with cells (a chart is a sheet, too) by id."""
    sheets: list[tuple[str, str]] = []
    for sheet in _elements(_pieces(archive, workbook), "sheet"):
        relation = next(value for key, value in sheet.attrib.items() if key.endswith("/relationships}id"))
        if relation in parts:
            sheets.append((sheet.attrib["name"], parts[relation]))
    if not sheets:
        raise ValueError("it has no sheet")
    return sheets


def _has_rows(archive: ZipFile, part: str) -> bool:
    with contextlib.suppress(*_BROKEN):
        return next(_elements(_pieces(archive, part), "row", until="sheetData"), None) is not None
    return True


def _date_styles(archive: ZipFile, part: str) -> Iterator[int]:
    """Yield the numbers of the cell styles for dates."""
    codes = dict(BUILTIN_FORMATS)
    for added in _elements(_pieces(archive, part), "numFmt", until="numFmts"):
        codes[int(added.attrib["numFmtId"])] = added.attrib["formatCode"]
    for formats in _elements(_pieces(archive, part), "cellXfs"):
        for style, cell_format in enumerate(formats):
            number = int(cell_format.get("numFmtId", 0))
            if number in _DATE_NUMBERS or is_date_format(codes.get(number, "General")):
                yield style
