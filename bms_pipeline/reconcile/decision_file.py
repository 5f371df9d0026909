"""Decisions to and from a spreadsheet: ``write`` lists records, a person fills in four columns, ``read`` takes them.

CSV and XLSX, told by the file's suffix. Nothing here knows the warehouse: whether a record exists and whether a
decision may be taken is for ``decisions`` to say; here it is about files, lines and cells.

A spreadsheet runs a cell that looks like a formula, and names come from strangers. In CSV such a cell gets a leading
apostrophe; in XLSX every text is stored as a text. A text that already looks like one with an apostrophe gets another
one in both, so that reading, which takes one off, gives back what was written.

Rows of XLSX are written and read as XML here, and not by openpyxl, which makes the rest of the file: it takes 30 to
40 µs for a cell, so more than a minute for 100,000 lines.
"""

from __future__ import annotations

import csv
import html
import io
import posixpath
import re
import struct
import zlib
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from lzma import LZMAError
from operator import itemgetter
from pathlib import Path
from typing import TypeVar, cast
from xml.etree.ElementTree import Element, ParseError, XMLPullParser
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile

from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.styles import Font
from openpyxl.styles.numbers import BUILTIN_FORMATS, is_date_format
from openpyxl.utils import column_index_from_string, get_column_letter
from openpyxl.worksheet.datavalidation import DataValidation

from bms_pipeline.entities import BY_NAME
from bms_pipeline.errors import DecisionFileInvalid
from bms_pipeline.files import made_whole
from bms_pipeline.reconcile.decisions import VERBS, Decision

SUGGESTIONS = 3
RECORD_COLUMNS = ("entity", "bms_id", "client", "name", "disposition", "reason")
PERSON_COLUMNS = ("decision", "match_to", "beside", "why")
"""Left empty for the person who decides."""

READ_COLUMNS = ("entity", "bms_id", *PERSON_COLUMNS)
NEEDED_COLUMNS = ("entity", "bms_id", "decision")

LARGEST_FILE = 100 * 1024**2
LARGEST_UNPACKED = 512 * 1024**2
MISTAKES_SHOWN = 20
SHEET = "decisions"

_LAST_ID = 2**63 - 1
_SHEET_ROWS = 1_048_576
# Excel's limit is 32,767 UTF-16 units, and a character takes one or two.
_LONGEST_TEXT = 16_000
# A number in a spreadsheet has 15 digits; the rest is rounded.
_EXACT_NUMBERS = 10**15

_NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_FORMULA_LIKE = re.compile(r"'*\s*[=+\-@\t\r]")
_SHORTENED_NUMBER = re.compile(r"[0-9](?:[.,][0-9]+)?[Ee]\+[0-9]+")
_ID = re.compile(r"[0-9]{1,19}")
_YES = frozenset({"yes", "true", "1", "x"})
_YES_OR_NO = _YES | {"", "no", "false", "0"}


@dataclass(frozen=True)
class Suggested:
    """A Passportal record that may be the same, and what speaks for it."""

    passportal_id: str
    name: str
    score: float
    evidence: str


@dataclass(frozen=True)
class Row:
    """A BMS record as the person who decides sees it. All rows of a file are of one entity."""

    entity: str
    bms_id: int
    client: str | None
    name: str | None
    disposition: str
    reason: str
    fields: Mapping[str, str | None]
    suggestions: Sequence[Suggested]


@dataclass(frozen=True)
class _Unusable:
    """A cell of a spreadsheet that holds something else than a value that can be relied on."""

    what: str


Cell = str | _Unusable
Value = str | int | float | None
Place = TypeVar("Place", int, str)
Line = tuple[int, Mapping[str, Cell]]

_NO_CELLS: dict[str, Cell] = dict.fromkeys(READ_COLUMNS, "")


def write(file: Path, rows: Iterable[Row], field_names: Sequence[str]) -> int:
    """Write ``rows`` and return how many there are; the file is replaced as a whole or not at all.

    Only its owner may read it. Control characters, which XLSX cannot hold, become U+FFFD, and a text ends after
    16,000 characters.
    """
    writes = {".csv": _write_csv, ".xlsx": _write_xlsx}.get(file.suffix.lower())
    if writes is None:
        raise _wrong_suffix(file)
    with made_whole(file) as unfinished:
        return writes(unfinished, rows, field_names)


def read(file: Path) -> list[Decision]:
    """Return the decisions in ``file``, in its order; lines without one are left out, exact repeats count once.

    ``line`` of each is the row that a spreadsheet shows (the header is 1); in CSV, where a cell can hold line breaks,
    it is the line of the file on which the record starts, as a text editor counts.

    Raises ``DecisionFileInvalid`` with all mistakes at once, as far as they can be told without the warehouse.
    """
    reads = {".csv": _csv_lines, ".xlsx": _xlsx_lines}.get(file.suffix.lower())
    if reads is None:
        raise _wrong_suffix(file)
    mistakes = _Mistakes(file)
    try:
        _refuse_unfit(file)
        decisions = _consistent(_decisions(reads(file, mistakes), mistakes), mistakes)
    except OSError as error:
        raise _refusal(file, f"cannot be read: {error.strerror or error}", "See that it can be opened.") from error
    mistakes.refuse()
    return decisions


# ---------------------------------------------------------------------------------------------------------- refusals


class _Mistakes:
    """Collects what is wrong with the lines of one file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._found: list[tuple[int, str]] = []

    def add(self, line: int, what: str) -> None:
        self._found.append((line, what))

    def refuse(self) -> None:
        """Raise what was found, if anything was."""
        if not self._found:
            return
        count = len(self._found)
        in_order = sorted(self._found, key=itemgetter(0))
        told = [f"line {line}: {what}" for line, what in in_order[:MISTAKES_SHOWN]]
        if count > MISTAKES_SHOWN:
            told.append(f"and {count - MISTAKES_SHOWN} more")
        has = "1 mistake" if count == 1 else f"{count} mistakes"
        raise _refusal(self._file, f"has {has}:\n" + "\n".join(told), "Correct them and import again.")


def _refusal(file: Path, what: str, next_step: str) -> DecisionFileInvalid:
    name = file.name if file.name.isprintable() else repr(file.name)
    return DecisionFileInvalid(f"{name} {what}", f"{next_step} Nothing was applied.")


def _wrong_suffix(file: Path) -> DecisionFileInvalid:
    what = f"the suffix {_shown(file.suffix)} does not work"
    return _refusal(file, f"is no decision file: {what}", "Use .csv or .xlsx (which keeps long ids intact).")


def _refuse_unfit(file: Path) -> None:
    if not file.is_file():
        raise _refusal(file, "is not there, or is not a file", "Name the file that holds the decisions.")
    if (size := file.stat().st_size) > LARGEST_FILE:
        what = f"is too large: {size // 1024**2} MB, of at most {LARGEST_FILE // 1024**2}"
        raise _refusal(file, what, "Keep only lines that have a decision, or split it.")


def _shown(value: str) -> str:
    """``value`` for a message: what it holds must not move a terminal's cursor, nor fill its screen."""
    escaped = repr(value[:61])
    return escaped if len(escaped) <= 60 else f"{escaped[:59]}…"


# ------------------------------------------------------------------------------------------- from lines to decisions


def _columns(header: Mapping[Place, Cell], mistakes: _Mistakes) -> dict[str, Place]:
    """Where each column that is read stands; empty if the lines cannot be read without one that is missing."""
    named = [(cell.strip().lower(), place) for place, cell in header.items() if isinstance(cell, str)]
    times = Counter(name for name, _ in named)
    wrong = [f"there is no column {name!r}" for name in NEEDED_COLUMNS if not times[name]]
    wrong += [f"there are {times[name]} columns {name!r}" for name in READ_COLUMNS if times[name] > 1]
    for each in wrong:
        mistakes.add(1, each)
    return {} if wrong else {name: place for name, place in named if name in READ_COLUMNS}


def _decisions(lines: Iterable[Line], mistakes: _Mistakes) -> Iterator[Decision]:
    for line, raw in lines:
        if not raw.get("decision"):
            continue
        cells = _NO_CELLS | {column: _plain(cell) for column, cell in raw.items()}
        if not cells["decision"]:
            continue
        if problems := _problems(cells):
            for each in problems:
                mistakes.add(line, each)
        else:
            yield _decision(line, cast("Mapping[str, str]", cells))


def _plain(cell: Cell) -> Cell:
    """The cell without blanks around it and without the apostrophe that keeps it from being a formula."""
    if not cell or isinstance(cell, _Unusable):
        return cell
    text = cell.strip()
    return text[1:].strip() if text[:1] == "'" and _FORMULA_LIKE.match(text) else text


def _decision(line: int, cells: Mapping[str, str]) -> Decision:
    return Decision(
        verb=cells["decision"].lower(),
        entity=cells["entity"].lower(),
        bms_id=int(cells["bms_id"]),
        passportal_id=cells["match_to"] or None,
        beside=cells["beside"].lower() in _YES,
        why=cells["why"],
        line=line,
    )


def _problems(cells: Mapping[str, Cell]) -> list[str]:
    """What is wrong with one line that has a decision."""
    bms_id, match_to, why = cells["bms_id"], cells["match_to"], cells["why"]
    problems = [*_word_problems(cells["entity"], cells["decision"], cells["beside"], has_target=match_to != "")]
    if isinstance(bms_id, _Unusable):
        problems.append(f"bms_id is {bms_id.what}")
    elif not _ID.fullmatch(bms_id) or not 1 <= int(bms_id) <= _LAST_ID:
        problems.append(f"bms_id {_shown(bms_id)} is not a whole number from 1 to {_LAST_ID}")
    if isinstance(match_to, _Unusable):
        problems.append(f"match_to is {match_to.what}")
    elif _SHORTENED_NUMBER.fullmatch(match_to):
        problems.append(f"match_to {_shown(match_to)} was shortened by a spreadsheet; enter the whole id, as text")
    if isinstance(why, _Unusable):
        problems.append(f"why is {why.what}")
    return problems


# Cached, as the same few words stand on every line.
@lru_cache(maxsize=1024)
def _word_problems(entity: Cell, verb: Cell, beside: Cell, *, has_target: bool) -> tuple[str, ...]:
    problems = [
        f"{column} is {cell.what}" if isinstance(cell, _Unusable) else f"{column} {_shown(cell)} is {expected}"
        for column, cell, words, expected in (
            ("entity", entity, BY_NAME, f"none of {', '.join(BY_NAME)}"),
            ("decision", verb, VERBS, f"none of {', '.join(VERBS)}"),
            ("beside", beside, _YES_OR_NO, "neither yes nor no"),
        )
        if isinstance(cell, _Unusable) or cell.lower() not in words
    ]
    if isinstance(verb, str) and verb.lower() in VERBS:
        problems += _misplaced(verb.lower(), beside, has_target=has_target)
    return tuple(problems)


def _misplaced(verb: str, beside: Cell, *, has_target: bool) -> Iterator[str]:
    if verb == "match" and not has_target:
        yield "match needs the Passportal id in the column match_to"
    if verb != "match" and has_target:
        yield f"match_to goes only with match, and the decision is {verb}"
    if verb != "create" and isinstance(beside, str) and beside.lower() in _YES:
        yield f"beside goes only with create, and the decision is {verb}"


def _consistent(decisions: Iterable[Decision], mistakes: _Mistakes) -> list[Decision]:
    """The decisions, each once; two for one record and two records for one Passportal id are mistakes."""
    of_record: dict[tuple[str, int], Decision] = {}
    of_target: dict[tuple[str, str], Decision] = {}
    for each in decisions:
        first = of_record.setdefault((each.entity, each.bms_id), each)
        if first is not each:
            if replace(each, line=first.line) != first:
                mistakes.add(each.line or 0, f"{each.entity} {each.bms_id} has another decision on line {first.line}")
        elif each.passportal_id is not None:
            rival = of_target.setdefault((each.entity, each.passportal_id), each)
            if rival is not each:
                what = f"{_shown(each.passportal_id)} is already matched to {rival.bms_id} on line {rival.line}"
                mistakes.add(each.line or 0, f"{each.entity} {each.bms_id}: {what}")
    return list(of_record.values())


# --------------------------------------------------------------------------------------------------------------- CSV


def _csv_lines(file: Path, mistakes: _Mistakes) -> Iterator[Line]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            yield from _csv_cells(stream, file, mistakes)
    except UnicodeDecodeError as error:
        raise _not_utf8(file) from error


def _csv_cells(stream: io.TextIOBase, file: Path, mistakes: _Mistakes) -> Iterator[Line]:
    first = stream.readline()
    if "\0" in first:
        raise _not_utf8(file)
    records = _csv_records(chain([first], _without_nul(stream, mistakes)), _delimiter(first), mistakes)
    _, header = next(records, (1, []))
    columns = _columns(dict(enumerate(header)), mistakes)
    if not columns:
        return
    for line, record in records:
        if len(record) > len(header):
            mistakes.add(line, f"{len(record)} cells, but the header has {len(header)}; is a quote missing?")
        else:
            yield line, {name: record[place] for name, place in columns.items() if place < len(record)}


def _csv_records(lines: Iterable[str], delimiter: str, mistakes: _Mistakes) -> Iterator[tuple[int, list[str]]]:
    """Each record with the line on which it starts; after a broken one, reading goes on with the next line."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            mistakes.add(line, f"a quote that is not closed, or not doubled inside a cell ({error})")
            continue
        if record:
            yield line, record


def _without_nul(lines: Iterable[str], mistakes: _Mistakes) -> Iterator[str]:
    for number, line in enumerate(lines, start=2):
        if "\0" in line:
            mistakes.add(number, "a NUL byte")
            yield line.replace("\0", "")
        else:
            yield line


def _delimiter(header: str) -> str:
    def columns_found(delimiter: str) -> int:
        cells = next(csv.reader([header], delimiter=delimiter), [])
        return len({cell.strip().lower() for cell in cells} & set(READ_COLUMNS))

    try:
        return max(",;\t", key=columns_found)
    except csv.Error:
        return ","


def _not_utf8(file: Path) -> DecisionFileInvalid:
    line, why = 1, "it looks like UTF-16"
    content = file.read_bytes()
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        if not content.startswith((b"\xff\xfe", b"\xfe\xff")):
            before = content[: error.start]
            line = 1 + before.count(b"\n") + before.count(b"\r") - before.count(b"\r\n")
            why = f"the byte 0x{content[error.start]:02x} is not valid there"
    what = f"is not UTF-8: line {line}: {why}"
    return _refusal(file, what, 'Save it as "CSV UTF-8 (Comma delimited)" in Excel, or as XLSX, and import again.')


def _write_csv(file: Path, rows: Iterable[Row], field_names: Sequence[str]) -> int:
    with file.open("w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\r\n")
        writer.writerow(_header(field_names))
        count = 0
        for row in rows:
            writer.writerow([guarded(each) if isinstance(each, str) else each for each in _values(row, field_names)])
            count += 1
        return count


def guarded(text: str) -> str:
    """``text`` for a cell of a CSV file, which no spreadsheet takes for a formula."""
    text = _storable(text)
    return f"'{text}" if _FORMULA_LIKE.match(text) else text


# ----------------------------------------------------------------------------------------------------------- writing


def _header(field_names: Sequence[str]) -> list[str]:
    suggestions = [
        f"suggestion_{number}{part}"
        for number in range(1, SUGGESTIONS + 1)
        for part in ("", "_name", "_score", "_evidence")
    ]
    return [*RECORD_COLUMNS, *field_names, *PERSON_COLUMNS, *suggestions]


def _values(row: Row, field_names: Sequence[str]) -> list[Value]:
    values: list[Value] = [row.entity, row.bms_id, row.client, row.name, row.disposition, row.reason]
    values += [row.fields.get(name) for name in field_names]
    values += [None] * len(PERSON_COLUMNS)
    for each in row.suggestions[:SUGGESTIONS]:
        values += [each.passportal_id, each.name, round(each.score, 3), each.evidence]
    values += [None] * (4 * (SUGGESTIONS - len(row.suggestions)))
    return values


def _storable(text: str) -> str:
    return _NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", text[:_LONGEST_TEXT])


# ------------------------------------------------------------------------------------------------------ XLSX, writing

_SHEET_PART = "xl/worksheets/sheet1.xml"
_ESCAPE_LIKE = re.compile("_(?=x[0-9A-Fa-f]{4}_)")
_WIDTHS = {
    "entity": 11,
    "bms_id": 12,
    "client": 28,
    "name": 32,
    "disposition": 14,
    "reason": 28,
    "decision": 12,
    "match_to": 22,
    "beside": 9,
    "why": 32,
}


def _write_xlsx(file: Path, rows: Iterable[Row], field_names: Sequence[str]) -> int:
    """Let openpyxl make the file with its header, then put the rows into its sheet."""
    made = io.BytesIO()
    header = _header(field_names)
    text_style = _save_empty_workbook(made, header)
    letters = [get_column_letter(place) for place in range(1, len(header) + 1)]
    with ZipFile(made) as empty, ZipFile(file, "w", ZIP_DEFLATED) as filled:
        for part in empty.namelist():
            if part != _SHEET_PART:
                filled.writestr(part, empty.read(part))
        before, end, after = empty.read(_SHEET_PART).rpartition(b"</sheetData>")
        with filled.open(_SHEET_PART, "w", force_zip64=True) as sheet:
            sheet.write(before)
            count = 0
            for row in rows:
                count += 1
                if count >= _SHEET_ROWS:
                    raise DecisionFileInvalid(
                        f"XLSX holds {_SHEET_ROWS} lines, and there are more", "Write CSV instead."
                    )
                cells = zip(letters, _values(row, field_names), strict=True)
                sheet.write(_row_xml(count + 1, cells, text_style).encode())
            sheet.write(end + after)
        return count


def _save_empty_workbook(stream: io.BytesIO, header: Sequence[str]) -> int:
    """Write a workbook with ``header``; the number of the style for text cells is returned."""
    workbook = Workbook(write_only=True)
    sheet = workbook.create_sheet(SHEET)
    letters = {name: get_column_letter(place) for place, name in enumerate(header, start=1)}
    for name, letter in letters.items():
        sheet.column_dimensions[letter].width = _width(name)
    # So that a long id that is typed or pasted is not rounded as a number.
    sheet.column_dimensions[letters["match_to"]].number_format = "@"
    sheet.freeze_panes = "A2"
    sheet.auto_filter.ref = f"A1:{get_column_letter(len(header))}{_SHEET_ROWS}"
    for column, words in (("decision", VERBS), ("beside", ("yes", "no"))):
        one_of = DataValidation("list", formula1=f'"{",".join(words)}"', allow_blank=True, showErrorMessage=True)
        one_of.add(f"{letters[column]}2:{letters[column]}{_SHEET_ROWS}")
        sheet.data_validations.append(one_of)
    text_cell = WriteOnlyCell(sheet)
    text_cell.quotePrefix = True
    # Asking for its number is what enters the style in the workbook.
    text_style = text_cell.style_id
    titles = [WriteOnlyCell(sheet, value=name) for name in header]
    for title in titles:
        title.font = Font(bold=True)
    sheet.append(titles)
    workbook.save(stream)
    return text_style


def _width(column: str) -> int:
    ending = column.rpartition("_")[2] if column.startswith("suggestion_") else column
    return {"score": 9, "evidence": 36}.get(ending) or _WIDTHS.get(ending, 20)


def _row_xml(number: int, cells: Iterable[tuple[str, Value]], text_style: int) -> str:
    filled = [
        _cell_xml(f"{letter}{number}", value, text_style)
        for letter, value in cells
        if value is not None and value != ""
    ]
    return f'<row r="{number}">{"".join(filled)}</row>'


def _cell_xml(where: str, value: str | float, text_style: int) -> str:
    if not isinstance(value, str):
        if value < _EXACT_NUMBERS:
            return f'<c r="{where}"><v>{value}</v></c>'
        value = str(value)
    if value.startswith("'"):
        value = guarded(value)
    text = html.escape(_storable(value), quote=False)
    # XLSX writes a character as _xHHHH_: needed for CR, which XML would read back as LF.
    if "_x" in text or "\r" in text:
        text = _ESCAPE_LIKE.sub("_x005F_", text).replace("\r", "_x000D_")
    return f'<c r="{where}" s="{text_style}" t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>'


# ------------------------------------------------------------------------------------------------------ XLSX, reading

_NAMESPACES = (
    "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}",
    "{http://purl.oclc.org/ooxml/spreadsheetml/main}",
    "{http://schemas.openxmlformats.org/package/2006/relationships}",
)
_ESCAPED = re.compile("_x([0-9A-Fa-f]{4})_")
# Dates of East Asian versions of Excel, which no format code describes.
_DATE_NUMBERS = frozenset({*range(27, 37), *range(50, 59)})
# Larger ones keep so many elements alive at a time that the garbage collector doubles the time.
_PIECE = 1 << 15
# More than any row, shared text or list of styles has: so that a file cannot fill the memory, be it by one huge cell,
# by elements that are none of ours, or by elements inside each other.
_MOST_TAGS = 600_000
_MOST_BYTES = 32 * 1024**2

_BROKEN = (
    *(BadZipFile, zlib.error, LZMAError, struct.error, ParseError, EOFError),
    # A part that is not there, a number that is none, a packing or encryption that zipfile does not know.
    *(LookupError, ValueError, ArithmeticError, RuntimeError),
)


def _xlsx_lines(file: Path, mistakes: _Mistakes) -> Iterator[Line]:
    try:
        # Opened here, as a ZipFile leaves its own file open while one of its parts is.
        with file.open("rb") as stream, ZipFile(stream) as archive:
            unpacked = sum(each.file_size for each in archive.infolist())
            if unpacked > LARGEST_UNPACKED:
                what = f"unpacks to {unpacked // 1024**2} MB, of at most {LARGEST_UNPACKED // 1024**2}"
                raise _refusal(file, what, "Keep only lines that have a decision, or split it.")
            yield from _xlsx_cells(_Sheet(archive), mistakes)
    except _BROKEN as error:
        what = f"cannot be read as XLSX: {_shown(str(error) or type(error).__name__)}"
        next_step = "Open it in the spreadsheet program, save it without a password as XLSX (or CSV UTF-8)"
        raise _refusal(file, what, f"{next_step} and import that.") from error


def _xlsx_cells(sheet: _Sheet, mistakes: _Mistakes) -> Iterator[Line]:
    rows = sheet.rows()
    line, first = next(rows, (1, None))
    header = {} if first is None or line != 1 else dict(sheet.cells(first))
    columns = _columns(header, mistakes)
    if not columns:
        return
    names = {letters: name for name, letters in columns.items()}
    sheet.pass_over_all_but(names)
    for line, row in rows:
        yield line, {names[letters]: cell for letters, cell in sheet.cells(row, names)}


class _Sheet:
    """The sheet that holds the decisions: the one of that name, or the first."""

    def __init__(self, archive: ZipFile) -> None:
        self._archive = archive
        workbook = _targets(archive, "")["officeDocument"][0][1]
        parts = _targets(archive, workbook)
        self._part = _sheet_part(archive, workbook, dict(parts["worksheet"]))
        self._date_styles = frozenset(chain.from_iterable(_date_styles(archive, part) for _, part in parts["styles"]))
        self._texts = [
            _text(each) for _, part in parts["sharedStrings"] for each in _elements(_pieces(archive, part), "si")
        ]
        self._passed_over: re.Pattern[bytes] | None = None

    def rows(self) -> Iterator[tuple[int, Element]]:
        """Each row with its number."""
        line = 0
        pieces = self._without_passed_over(_pieces(self._archive, self._part))
        for row in _elements(pieces, "row", until="sheetData"):
            line = int(row.get("r", line + 1))
            if line > _SHEET_ROWS:
                raise ValueError(f"row {line} of a sheet, which has {_SHEET_ROWS}")
            yield line, row

    def cells(self, row: Element, wanted: Container[str] | None = None) -> Iterator[tuple[str, Cell]]:
        """The cells of the ``wanted`` columns (or all), by column letters."""
        namespace = _namespace(row)
        letters = ""
        for cell in row:
            where = cell.get("r")
            letters = where.rstrip("0123456789") if where else _next_letters(letters)
            if wanted is None or letters in wanted:
                yield letters, self._cell(cell, namespace)

    def pass_over_all_but(self, columns: Iterable[str]) -> None:
        """From now on only the cells of ``columns`` have to be in the rows; most of the time goes into the others."""
        kept = "|".join(columns)
        cell = rf'<c r="(?!(?:{kept})[0-9])[A-Z]{{1,3}}[0-9]+"[^<>]*(?:/>|(?<!/)>.{{0,500}}?</c>)'
        self._passed_over = re.compile(cell.encode(), re.DOTALL)

    def _without_passed_over(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """The pieces without cells that are passed over, as far as plain text tells them.

        Outside of comments, CDATA and processing instructions a ``<`` always begins a tag; from the first of these on,
        and if a producer writes cells in another way, everything is left to the parser.
        """
        rest = b""
        is_plain = True
        for piece in pieces:
            rest += piece
            is_plain = is_plain and b"<!" not in rest and b"<?" not in rest.removeprefix(b"<?xml ")
            # No tag is cut in two; where nothing ends, nothing is kept waiting either.
            end = (rest.rfind(b">") + 1 if is_plain else 0) or len(rest)
            is_plain = is_plain and rest[end - 1 : end] == b">"
            whole, rest = rest[:end], rest[end:]
            yield self._passed_over.sub(b"", whole) if is_plain and self._passed_over else whole
        yield rest

    def _cell(self, cell: Element, namespace: str) -> Cell:
        kind = cell.get("t", "n")
        if cell.find(f"{namespace}f") is not None:
            return _Unusable("a formula, not a value")
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
                return _Unusable("a date, not a value")
            case "e":
                return _Unusable(f"an error, {_shown(text)}")
        return _unescaped(text)


def _number(text: str, *, is_date: bool) -> Cell:
    if is_date:
        return _Unusable("a date, not a value")
    number = float(text)
    if abs(number) >= _EXACT_NUMBERS:
        return _Unusable("a number of more than 15 digits, which spreadsheets round; format it as text, then enter it")
    return str(int(number)) if number.is_integer() else text


def _text(element: Element) -> str:
    """The text of a cell: plain or in runs, without the phonetic readings that may stand beside it."""
    namespace = _namespace(element)
    plain, run = f"{namespace}t", f"{namespace}r"
    pieces = (each.text if each.tag == plain else each.findtext(plain) for each in element if each.tag in (plain, run))
    return _unescaped("".join(each or "" for each in pieces))


def _unescaped(text: str) -> str:
    return _storable(_ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)) if "_x" in text else text


def _next_letters(letters: str) -> str:
    return get_column_letter(column_index_from_string(letters) + 1) if letters else "A"


def _namespace(element: Element) -> str:
    return element.tag[: element.tag.index("}") + 1]


def _pieces(archive: ZipFile, part: str) -> Iterator[bytes]:
    with archive.open(part) as stream:
        while piece := stream.read(_PIECE):
            yield piece


def _elements(pieces: Iterable[bytes], name: str, *, until: str | None = None) -> Iterator[Element]:
    """Each complete ``name`` in a part, emptied after it was used, up to the end of the first ``until``."""
    wanted = frozenset(f"{namespace}{name}" for namespace in _NAMESPACES)
    last = frozenset(f"{namespace}{until}" for namespace in _NAMESPACES)
    # expat refuses entities that explode since 2.4.1, and Python's own copy is newer.
    parser: XMLPullParser[Element] = XMLPullParser(("end",))
    tags = size = 0
    for piece in chain(pieces, [None]):
        if piece is None:
            parser.close()
        else:
            tags, size = tags + piece.count(b"<"), size + len(piece)
            if tags > _MOST_TAGS or size > _MOST_BYTES:
                raise ValueError(f"a {name} is too large: more than {_MOST_TAGS:,} tags or {_MOST_BYTES // 1024**2} MB")
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
    """The parts that ``part`` names, as (id, part) by kind."""
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


def _sheet_part(archive: ZipFile, workbook: str, parts: Mapping[str, str]) -> str:
    """Where the sheet is; ``parts``: of the sheets with cells (a chart is a sheet, too) by id."""
    sheets: list[tuple[str, str]] = []
    for sheet in _elements(_pieces(archive, workbook), "sheet"):
        relation = next(value for key, value in sheet.attrib.items() if key.endswith("/relationships}id"))
        if relation in parts:
            sheets.append((sheet.attrib["name"].strip().lower(), parts[relation]))
    if not sheets:
        raise ValueError("it has no sheet")
    return dict(reversed(sheets)).get(SHEET, sheets[0][1])


def _date_styles(archive: ZipFile, part: str) -> Iterator[int]:
    """The numbers of the cell styles that show a number as a date."""
    codes = dict(BUILTIN_FORMATS)
    for added in _elements(_pieces(archive, part), "numFmt", until="numFmts"):
        codes[int(added.attrib["numFmtId"])] = added.attrib["formatCode"]
    for formats in _elements(_pieces(archive, part), "cellXfs"):
        for style, each in enumerate(formats):
            number = int(each.get("numFmtId", 0))
            if number in _DATE_NUMBERS or is_date_format(codes.get(number, "General")):
                yield style
