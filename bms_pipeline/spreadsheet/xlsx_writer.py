"""Write XLSX. openpyxl creates the file with its header, and the rows go into its sheet as XML.

openpyxl takes 30 to 40 µs for a cell, so more than a minute for 100,000 lines.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.styles import Font
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.datavalidation import DataValidation

from bms_pipeline.core.errors import DecisionFileInvalid
from bms_pipeline.spreadsheet.cells import Value, escape_formula, storable

SHEET_ROWS = 1_048_576
"""Largest number of rows in a sheet."""

_SHEET_PART = "xl/worksheets/sheet1.xml"
_ESCAPE_LIKE = re.compile("_(?=x[0-9A-Fa-f]{4}_)")
# A number in a spreadsheet has 15 digits; the rest is rounded.
_EXACT_NUMBERS = 10**15


@dataclass(frozen=True)
class Column:
    """A column of a sheet.

    ``words``: all allowed entries. ``is_text``: the program keeps entries unchanged, as text.
    """

    name: str
    width: int = 20
    words: tuple[str, ...] = ()
    is_text: bool = False


def write_xlsx(file: Path, sheet: str, columns: Sequence[Column], rows: Iterable[Sequence[Value]]) -> int:
    """Write ``rows`` below the names of ``columns``; return the number of rows."""
    made = io.BytesIO()
    text_style = _save_empty_workbook(made, sheet, columns)
    letters = [get_column_letter(place) for place in range(1, len(columns) + 1)]
    with ZipFile(made) as empty, ZipFile(file, "w", ZIP_DEFLATED) as filled:
        for part in empty.namelist():
            if part != _SHEET_PART:
                filled.writestr(part, empty.read(part))
        before, end, after = empty.read(_SHEET_PART).rpartition(b"</sheetData>")
        with filled.open(_SHEET_PART, "w", force_zip64=True) as stream:
            stream.write(before)
            count = 0
            for row in rows:
                count += 1
                if count >= SHEET_ROWS:
                    raise DecisionFileInvalid(
                        f"XLSX holds {SHEET_ROWS} lines, and there are more", "Write CSV instead."
                    )
                stream.write(_row_xml(count + 1, zip(letters, row, strict=True), text_style).encode())
            stream.write(end + after)
        return count


def _save_empty_workbook(stream: io.BytesIO, name: str, columns: Sequence[Column]) -> int:
    """Write a workbook with a header; return the number of the style for text cells."""
    workbook = Workbook(write_only=True)
    sheet = workbook.create_sheet(name)
    for place, column in enumerate(columns, start=1):
        letter = get_column_letter(place)
        sheet.column_dimensions[letter].width = column.width
        if column.is_text:
            sheet.column_dimensions[letter].number_format = "@"
        if column.words:
            one_of = DataValidation(
                "list", formula1=f'"{",".join(column.words)}"', allow_blank=True, showErrorMessage=True
            )
            one_of.add(f"{letter}2:{letter}{SHEET_ROWS}")
            sheet.data_validations.append(one_of)
    sheet.freeze_panes = "A2"
    sheet.auto_filter.ref = f"A1:{get_column_letter(len(columns))}{SHEET_ROWS}"
    text_cell = WriteOnlyCell(sheet)
    text_cell.quotePrefix = True
    # Reading its number registers the style in the workbook.
    text_style = text_cell.style_id
    titles = [WriteOnlyCell(sheet, value=column.name) for column in columns]
    for title in titles:
        title.font = Font(bold=True)
    sheet.append(titles)
    workbook.save(stream)
    return text_style


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
        value = escape_formula(value)
    text = html.escape(storable(value), quote=False)
    # XLSX writes a character as _xHHHH_: needed for CR, which XML would read back as LF.
    if "_x" in text or "\r" in text:
        text = _ESCAPE_LIKE.sub("_x005F_", text).replace("\r", "_x000D_")
    return f'<c r="{where}" s="{text_style}" t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>'
