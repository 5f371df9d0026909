"""Files as other programs save them: read as they were meant, or refused with their lines.

``files/`` holds exports of ours that LibreOffice 25.2 and XlsxWriter 3.2 wrote, filled in.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

import pytest
from openpyxl import Workbook

from bms_pipeline.core.errors import DecisionFileInvalid
from bms_pipeline.reconcile.decisions import Decision
from bms_pipeline.spreadsheet.decisions import read_decisions, read_lines

FILES = Path(__file__).with_name("files")
HEADER = ["entity", "bms_id", "name", "decision", "match_to", "suggestion_1", "suggestion_1_name"]


def mistakes_in(file: Path) -> list[str]:
    with pytest.raises(DecisionFileInvalid) as refused:
        read_decisions(file)
    return refused.value.message.split("\n")[1:]


def sheet(*rows: Iterable[object], header: Iterable[object] = HEADER) -> Workbook:
    book = Workbook()
    for row in (header, *rows):
        book.worksheets[0].append(list(row))
    return book


def saved(book: Workbook, folder: Path) -> Path:
    book.save(folder / "a.xlsx")
    return folder / "a.xlsx"


@pytest.mark.parametrize("name", ["libreoffice.xlsx", "libreoffice_semicolon.csv"])
def test_what_libreoffice_saved_again_is_what_a_person_entered(name: str) -> None:
    filled_in = read_lines(FILES / name)
    assert filled_in.decisions == [
        Decision("match", "clients", 101, "C1", why="it’s\u00a0them", line=2),
        Decision("exclude", "clients", 102, line=3),
        Decision("create", "clients", 103, allow_duplicate=True, line=4),
        Decision("match", "clients", 2**62, "000123", line=5),
    ]
    assert [line.state["name"] for line in filled_in.lines] == [
        *("Zoë & Söhne", "007 Plumbing", "=HYPERLINK(1)", "March 5"),
    ]


def test_lines_that_the_sheet_hides_and_sheets_that_are_not_read_are_reported(tmp_path: Path) -> None:
    hidden = "These lines are hidden in the sheet, by a filter or by hand, and count: 3."
    assert read_lines(FILES / "libreoffice.xlsx").notes == [hidden]
    assert read_lines(FILES / "xlsxwriter.xlsx").notes == [
        "Only the sheet 'decisions' is read; not read: 'decisions (2)'.",
        hidden,
    ]
    book = sheet(*(["clients", number, "A", "exclude" if number % 2 else None] for number in range(1, 10)))
    for line in (3, 4, 6, 9, 10):
        book.worksheets[0].row_dimensions[line].hidden = True
    assert read_lines(saved(book, tmp_path)).notes == [hidden.replace(": 3", ": 4, 6, 10")]


def test_merged_cells_are_refused_with_their_lines_where_a_column_of_ours_is_merged(tmp_path: Path) -> None:
    assert mistakes_in(FILES / "libreoffice_merged.xlsx") == [
        "line 4: the cells I4:I5 are merged (to line 5); unmerge them and fill each"
    ]
    book = sheet(*(["clients", number, "A", "exclude"] for number in range(1, 5)), header=[*HEADER, "notes"])
    book.worksheets[0].merge_cells("H2:H4")
    assert len(read_decisions(saved(book, tmp_path))) == 4, "a column of the person's own"
    book.worksheets[0].merge_cells("C3:E3")
    assert mistakes_in(saved(book, tmp_path)) == ["line 3: the cells C3:E3 are merged; unmerge them and fill each"]


def test_a_csv_opened_in_the_wrong_encoding_is_named_as_that() -> None:
    assert "encoding" in mistakes_in(FILES / "libreoffice_wrong_encoding.csv")[0]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("first", ["sep={}", '"sep={}"', "SEP={}", "sep={0}{0}{0}{0}{0}"])
@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_excels_own_first_line_is_no_header(
    tmp_path: Path, encoding: str, delimiter: str, first: str, end: str
) -> None:
    file = tmp_path / "a.csv"
    lines = [first.format(delimiter), "entity,bms_id,decision,why".replace(",", delimiter)]
    lines += ["clients,101,exclude,x".replace(",", delimiter), "clients,102,huh,x".replace(",", delimiter)]
    file.write_bytes(end.join(lines[:3]).encode(encoding))
    assert read_decisions(file) == [Decision("exclude", "clients", 101, why="x", line=3)]
    file.write_bytes(end.join(lines).encode(encoding))
    assert [mistake.split(":")[0] for mistake in mistakes_in(file)] == ["line 4"]


@pytest.mark.parametrize("above", [1, 3])
@pytest.mark.parametrize("suffix", [".csv", ".xlsx"])
def test_lines_above_the_header_are_refused_and_the_header_is_found(tmp_path: Path, suffix: str, above: int) -> None:
    rows = [["For Monday", "by Ana"]] * above + [HEADER, ["clients", "1", "A", "exclude"]]
    file = tmp_path / f"a{suffix}"
    if suffix == ".csv":
        text = io.StringIO()
        csv.writer(text).writerows([*row, *[""] * (7 - len(row))] for row in rows)
        file.write_text(text.getvalue())
    else:
        sheet(*rows[1:], header=rows[0]).save(file)
    mistakes = mistakes_in(file)
    assert "line 1: there is no column 'entity'" in mistakes
    assert mistakes[-1] == f"line {above + 1}: this line looks like the header; delete the lines above it"


# --------------------------------------------------------------------------------- one column sorted or filled down


def suggesting(*decided: tuple[str, str]) -> list[list[object]]:
    """Lines with a decision to match; each suggests the partner of its own number."""
    return [
        ["clients", number, f"N{number}", verb, match_to, f"P{number}", f"N{number} Ltd"]
        for number, (verb, match_to) in enumerate(decided, start=1)
    ]


def test_a_column_of_ids_that_was_sorted_on_its_own_is_refused(tmp_path: Path) -> None:
    rows = suggesting(("match", "P3"), ("match", "P2"), ("match", "P1"), ("", ""))
    assert mistakes_in(saved(sheet(*rows), tmp_path)) == [
        "line 2: match_to 'P3' is suggested on line 4 and not here; was the column sorted or moved on its own?",
        "line 4: match_to 'P1' is suggested on line 2 and not here; was the column sorted or moved on its own?",
    ]


def test_a_column_of_ids_that_was_filled_down_is_refused(tmp_path: Path) -> None:
    rows = suggesting(("match", "U55"), ("match", "U56"), ("match", "U57"))
    mistakes = mistakes_in(saved(sheet(*rows), tmp_path))
    assert [mistake.split(":")[0] for mistake in mistakes] == ["line 2", "line 3", "line 4"]
    assert "match_to 'U57' counts up from line 2" in mistakes[2]


@pytest.mark.parametrize(
    "decided",
    [
        pytest.param([("match", "P1"), ("match", "P2"), ("match", "P3")], id="each as suggested, and counting up"),
        pytest.param([("match", "U7"), ("match", "U3"), ("match", "U9")], id="none as suggested"),
        pytest.param([("match", "P2"), ("exclude", ""), ("create", "")], id="one that another line suggests"),
    ],
)
def test_ids_that_a_person_chose_are_taken(tmp_path: Path, decided: list[tuple[str, str]]) -> None:
    assert len(read_decisions(saved(sheet(*suggesting(*decided)), tmp_path))) == 3


def test_a_list_of_ones_own_may_count_up(tmp_path: Path) -> None:
    rows = (["clients", number, "", "match", f"U{number}"] for number in range(1, 9))
    assert len(read_decisions(saved(sheet(*rows, header=HEADER[:5]), tmp_path))) == 8


# ----------------------------------------------------------------------------------------- what Excel makes of values


@pytest.mark.parametrize(
    "cell",
    [
        *(
            "1,234",
            "1.234",
            "1.2E+05",
            "1,2E+05",
            "101.5",
            "2026-02-01",
            "02/01/2026",
            "Feb 1",
            "#####",
            "#REF!",
            "=B2",
        ),
        *("101.0", "1 234", "1\u00a0234", "1'234", "٣", "Ⅳ", "101\u200b", "TRUE", "101 102"),
    ],
)
def test_an_id_that_a_spreadsheet_changed_never_becomes_another_id(tmp_path: Path, cell: str) -> None:
    file = tmp_path / "a.csv"
    with file.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([["entity", "bms_id", "decision"], ["clients", cell, "exclude"]])
    assert mistakes_in(file)[0].startswith("line 2: bms_id ")


@pytest.mark.parametrize("cell", ["00101", " 101 ", "101\u00a0", "\u00a0101", "\ufeff101"[1:], "'101"[1:]])
def test_an_id_with_blanks_or_zeros_around_it_is_that_id(tmp_path: Path, cell: str) -> None:
    file = tmp_path / "a.csv"
    file.write_text(f"entity,bms_id,decision\n\u00a0clients,{cell},exclude\u00a0\n", encoding="utf-8")
    assert read_decisions(file) == [Decision("exclude", "clients", 101, line=2)]
