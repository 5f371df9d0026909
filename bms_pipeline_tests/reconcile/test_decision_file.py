"""The spreadsheet round trip: what is written for a person, and what is taken from what the person hands back."""

from __future__ import annotations

import csv
import datetime
import io
import re
import stat
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import Workbook, load_workbook
from openpyxl.styles import Font

from bms_pipeline.core.errors import DecisionFileInvalid
from bms_pipeline.reconcile.decisions import VERBS, Decision
from bms_pipeline.spreadsheet import xlsx_reader, xlsx_writer
from bms_pipeline.spreadsheet.decisions import Row, SuggestedPartner, read_decisions, write_decisions
from bms_pipeline_tests.exploring import examples

HEADER = "entity,bms_id,decision,match_to,allow_duplicate,why"
FIELDS = ("phone", "email")
SUFFIXES = (".csv", ".xlsx")
SHEET_PART = "xl/worksheets/sheet1.xml"
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"


def row(
    bms_id: int = 17,
    name: str | None = "Zoë",
    suggestions: Sequence[SuggestedPartner] = (),
    **fields: str | None,
) -> Row:
    return Row("clients", bms_id, None, name, "unmatched", "no candidate", fields, suggestions)


def suggested(passportal_id: str) -> SuggestedPartner:
    return SuggestedPartner(passportal_id, "Zoe Ltd", 0.87654, "the same phone")


def csv_file(folder: Path, *lines: str, header: str = HEADER, encoding: str = "utf-8") -> Path:
    file = folder / "decisions.csv"
    file.write_bytes("\r\n".join([header, *lines, ""]).encode(encoding))
    return file


def xlsx_file(folder: Path, *rows: Iterable[object], header: str = HEADER) -> Path:
    workbook = Workbook()
    sheet = workbook.worksheets[0]
    for each in (header.split(","), *rows):
        sheet.append(list(each))
    workbook.save(folder / "decisions.xlsx")
    return folder / "decisions.xlsx"


def sheet_file(folder: Path, rows: str) -> Path:
    """An XLSX of which the test writes the rows as XML."""
    file = xlsx_file(folder)
    sheet = f'<worksheet xmlns="{MAIN}"><sheetData>{rows}</sheetData></worksheet>'
    rewritten(file, lambda _: sheet)
    return file


def rewritten(file: Path, change: Callable[[str], str]) -> None:
    """Change the XML of an XLSX's first sheet."""
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name).decode() for name in archive.namelist()}
    parts[SHEET_PART] = change(parts[SHEET_PART])
    with zipfile.ZipFile(file, "w") as archive:
        for name, text in parts.items():
            archive.writestr(name, text)


def filled_in(file: Path, fill: Callable[[dict[str, Any]], dict[str, object]]) -> None:
    """Do as the person does: open ``file``, type into cells, save it."""
    if file.suffix == ".csv":
        with file.open(encoding="utf-8-sig", newline="") as stream:
            lines = list(csv.DictReader(stream))
        with file.open("w", encoding="utf-8-sig", newline="") as stream:
            writer = csv.DictWriter(stream, list(lines[0]))
            writer.writeheader()
            writer.writerows({**line, **fill(line)} for line in lines)
        return
    workbook = load_workbook(file)
    sheet = workbook["decisions"]
    header = [str(cell.value) for cell in sheet[1]]
    for cells in sheet.iter_rows(min_row=2):
        for name, value in fill({name: cell.value for name, cell in zip(header, cells, strict=True)}).items():
            cell = cells[header.index(name)]
            cell.value = value  # type: ignore[assignment]
            if isinstance(value, str):
                cell.data_type = "s"
    workbook.save(file)


def mistakes_in(file: Path) -> list[str]:
    with pytest.raises(DecisionFileInvalid) as refused:
        read_decisions(file)
    assert "Nothing was applied." in refused.value.next_step
    first, *others = refused.value.message.split("\n")
    assert first.startswith(file.name)
    return others


# ----------------------------------------------------------------------------------------------------------- writing


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_columns_are_the_record_its_fields_the_persons_and_three_suggestions(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"clients{suffix}"
    four = [suggested(f"p{number}") for number in range(4)]
    assert write_decisions(file, [row(suggestions=four, phone="0123", email=None)], FIELDS) == 1
    header, first = cells_of(file)
    assert header == [
        *("entity", "bms_id", "client", "name", "disposition", "reason", "matched_to", "phone", "email"),
        *("decision", "match_to", "allow_duplicate", "why"),
        *(f"suggestion_{number}{part}" for number in (1, 2, 3) for part in ("", "_name", "_score", "_evidence")),
    ]
    assert first[:9] == ["clients", "17", "", "Zoë", "unmatched", "no candidate", "", "0123", ""]
    assert first[9:13] == [""] * 4
    assert first[13:17] == ["p0", "Zoe Ltd", "0.877", "the same phone"]
    assert len(first) == len(header)


def cells_of(file: Path) -> list[list[str]]:
    if file.suffix == ".csv":
        with file.open(encoding="utf-8-sig", newline="") as stream:
            return list(csv.reader(stream))
    sheet = load_workbook(file)["decisions"]
    return [["" if cell is None else str(cell) for cell in line] for line in sheet.iter_rows(values_only=True)]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_written_file_is_its_owners_and_replaces_the_old_one_whole(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"clients{suffix.upper()}"
    file.write_text("old")

    def broken() -> Iterator[Row]:
        yield row()
        raise RuntimeError("the warehouse went away")

    with pytest.raises(RuntimeError):
        write_decisions(file, broken(), ())
    assert file.read_text() == "old"
    assert write_decisions(file, [], ()) == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [file]
    assert read_decisions(file) == []


@pytest.mark.parametrize("name", ["clients.xls", "clients.ods", "clients", "clients.csv.exe"])
def test_other_suffixes_are_refused_with_those_that_work(tmp_path: Path, name: str) -> None:
    for use in (lambda file: write_decisions(file, [row()], ()), read_decisions):
        with pytest.raises(DecisionFileInvalid, match=r"\.csv or \.xlsx"):
            use(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_csv_is_what_excel_reads_as_utf8(tmp_path: Path) -> None:
    write_decisions(tmp_path / "a.csv", [row(name='Zoë, "the" one')], ())
    content = (tmp_path / "a.csv").read_bytes()
    assert content.startswith("\ufeffentity,bms_id,".encode())
    assert content.count(b"\r\n") == content.count(b"\n") == 2
    assert '"Zoë, ""the"" one"'.encode() in content


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("=1+1", "'=1+1"),
        ("+44", "'+44"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("  =1", "'  =1"),
        ("\u00a0=1", "'\u00a0=1"),
        ("'=1", "''=1"),
        ("a=1", "a=1"),
        ("'tis", "'tis"),
        ("", ""),
        ("nul\0", "nul\ufffd"),
    ],
)
def test_a_csv_cell_never_begins_like_a_formula(tmp_path: Path, name: str, stored: str) -> None:
    write_decisions(tmp_path / "a.csv", [row(name=name, suggestions=[suggested(name)], phone=name)], ("phone",))
    line = dict(zip(*cells_of(tmp_path / "a.csv"), strict=True))
    assert line["name"] == line["phone"] == line["suggestion_1"] == stored


@pytest.mark.parametrize("name", ["=1+1", "+44", "-1", "@x", "12345678901234567890", "#N/A", " a ", "<&>", "1E5"])
def test_an_xlsx_text_is_a_text(tmp_path: Path, name: str) -> None:
    write_decisions(tmp_path / "a.xlsx", [row(name=name)], ())
    cell = load_workbook(tmp_path / "a.xlsx")["decisions"]["D2"]
    assert (cell.value, cell.data_type, cell.quotePrefix) == (name, "s", True)


def test_what_xlsx_cannot_hold_becomes_a_replacement_character(tmp_path: Path) -> None:
    write_decisions(tmp_path / "a.xlsx", [row(name="a\0b\x1b[2Jc\ud800d\uffffe_x0041_\r")], ())
    assert load_workbook(tmp_path / "a.xlsx")["decisions"]["D2"].value == (
        "a\ufffdb\ufffd[2Jc\ufffdd\ufffde_x005F_x0041__x000D_"
    ), "openpyxl shows the escapes that Excel undoes"


def test_xlsx_helps_the_person(tmp_path: Path) -> None:
    write_decisions(tmp_path / "a.xlsx", [row(bms_id=2**63 - 1), row(bms_id=5)], FIELDS)
    sheet = load_workbook(tmp_path / "a.xlsx")["decisions"]
    assert sheet.freeze_panes == "A2"
    assert all(cell.font.b for cell in sheet[1])
    assert sheet.auto_filter.ref == "A1:Y1048576"
    assert [str(each.sqref) for each in sheet.data_validations.dataValidation] == ["J2:J1048576", "L2:L1048576"]
    assert sheet.data_validations.dataValidation[0].formula1 == f'"{",".join(VERBS)}"'
    assert sheet.column_dimensions["K"].number_format == "@", "a long id that is pasted stays a text"
    assert sheet.column_dimensions["D"].width == 32
    assert (sheet["B2"].value, sheet["B3"].value) == (str(2**63 - 1), 5)


def test_a_sheet_has_no_more_than_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xlsx_writer, "SHEET_ROWS", 3)
    assert write_decisions(tmp_path / "a.xlsx", [row()] * 2, ()) == 2
    with pytest.raises(DecisionFileInvalid, match="Write CSV instead"):
        write_decisions(tmp_path / "a.xlsx", [row()] * 3, ())


# -------------------------------------------------------------------------------------------------------- round trip

TEXTS = st.one_of(
    st.text(max_size=30),
    st.text(alphabet="=+-@'\"\t\r\n;, a_x0D5F\u202e\u05d0\u200f", max_size=12),
    st.sampled_from(["=1+1", "'=1", "''=1", "' =1", "\ufeff", "שלום", "a\u2028b", "_x0041_", "<!--", "]]>", "#N/A"]),
)
IDS = TEXTS.map(lambda text: re.sub(r"[\x00-\x1f\ufffe\uffff]", "", text).strip()).filter(
    # A number in this form is taken for an id that a spreadsheet has cut.
    lambda text: text and not re.fullmatch(r"[0-9](?:[.,][0-9]+)?[Ee]\+[0-9]+", text)
)


@pytest.mark.parametrize("suffix", SUFFIXES)
@examples(20, 500)
@given(
    records=st.lists(
        st.tuples(st.integers(1, 2**63 - 1), TEXTS, IDS, TEXTS),
        min_size=1,
        max_size=4,
        unique_by=(lambda each: each[0], lambda each: each[2]),
    )
)
def test_what_is_written_and_decided_comes_back(suffix: str, records: list[tuple[int, str, str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"clients{suffix}"
        write_decisions(
            file, [row(each, name, [suggested(target)], phone=why) for each, name, target, why in records], ("phone",)
        )
        if suffix == ".csv":
            filled_in(file, lambda line: {"decision": "match", "match_to": line["suggestion_1"]})
        else:
            fill_sheet(file)
        taken = read_decisions(file)
    assert [(each.bms_id, each.passportal_id) for each in taken] == [(each, target) for each, _, target, _ in records]
    assert all((each.verb, each.entity) == ("match", "clients") for each in taken)


def fill_sheet(file: Path) -> None:
    """Fill in an XLSX without openpyxl, which would read CR as the text ``_x000D_`` and store that."""

    def decided(found: re.Match[str]) -> str:
        number, cells = found[1], found[2]
        copied = re.search(rf'<c r="M{number}"([^>]*>.*?</c>)', cells, re.DOTALL)
        assert copied
        person = f'<c r="I{number}" t="str"><v>match</v></c><c r="J{number}"{copied[1]}'
        return f'<row r="{number}">{cells.replace(copied[0], person + copied[0])}</row>'

    rewritten(file, lambda sheet: re.sub(r'<row r="([2-9])">(.*?)</row>', decided, sheet, flags=re.DOTALL))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_saved_by_another_program_comes_back(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"clients{suffix}"
    write_decisions(file, [row(1), row(2), row(3), row(2**62)], FIELDS)
    decided: dict[str, dict[str, object]] = {
        "1": {"decision": "Match ", "match_to": "000123", "why": "same phone"},
        "3": {"decision": "CREATE", "allow_duplicate": "Yes"},
        str(2**62): {"decision": "exclude"},
    }
    filled_in(file, lambda line: decided.get(str(line["bms_id"]), {}))
    assert read_decisions(file) == [
        Decision("match", "clients", 1, "000123", why="same phone", line=2),
        Decision("create", "clients", 3, allow_duplicate=True, line=4),
        Decision("exclude", "clients", 2**62, line=5),
    ]


# ------------------------------------------------------------------------------------------- what a CSV may look like


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_delimiters_boms_and_line_ends(tmp_path: Path, delimiter: str, encoding: str, newline: str) -> None:
    file = tmp_path / "a.csv"
    lines = [HEADER, "clients,17,create,,x,because", "", "clients,18,exclude,,,Zoë"]
    file.write_bytes(newline.join(lines).replace(",", delimiter).encode(encoding))
    assert read_decisions(file) == [
        Decision("create", "clients", 17, allow_duplicate=True, why="because", line=2),
        Decision("exclude", "clients", 18, why="Zoë", line=4),
    ]


def test_columns_are_found_by_their_names(tmp_path: Path) -> None:
    header = " Decision ,name,BMS_ID,my notes,my notes,entity"
    assert read_decisions(csv_file(tmp_path, "create,x,17,,,Clients", header=header)) == [
        Decision("create", "clients", 17, line=2)
    ]
    header = f'"a, b; c; d","x;y",{HEADER}'
    assert read_decisions(csv_file(tmp_path, ",,clients,17,create,,,", header=header)) == [
        Decision("create", "clients", 17, line=2)
    ]


def test_a_line_is_where_its_record_starts(tmp_path: Path) -> None:
    file = csv_file(tmp_path, 'clients,1,exclude,,,"two\r\nlines\nand a third"', "clients,2,exclude", "clients,3,oops")
    assert mistakes_in(file) == [f"line 6: decision 'oops' is none of {', '.join(VERBS)}"]


def test_the_column_of_version_0_5_is_read(tmp_path: Path) -> None:
    file = tmp_path / "decisions.csv"
    file.write_text("entity,bms_id,decision,match_to,beside,why\nclients,1,create,,yes,\n", encoding="utf-8")
    assert read_decisions(file)[0].allow_duplicate


@pytest.mark.parametrize(
    ("cell", "allow_duplicate"),
    [
        *((each, True) for each in ("yes", "TRUE", "1", "x", "X")),
        *((each, False) for each in ("no", "False", "0", " ")),
    ],
)
def test_allow_duplicate(tmp_path: Path, cell: str, allow_duplicate: bool) -> None:
    assert read_decisions(csv_file(tmp_path, f"clients,1,create,,{cell},"))[0].allow_duplicate is allow_duplicate


def test_lines_without_a_decision_are_left_out_unread(tmp_path: Path) -> None:
    assert read_decisions(csv_file(tmp_path, "nonsense,-5,,,,", "x", "clients,1, ,17,maybe,", ",,,,,")) == []


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_in_any_case(tmp_path: Path, verb: str) -> None:
    target = "p1" if verb in ("match", "branch") else ""
    assert read_decisions(csv_file(tmp_path, f"clients,1,{verb.title()},{target},,")) == [
        Decision(verb, "clients", 1, target or None, line=2)
    ]


# ---------------------------------------------------------------------------------------------------------- mistakes

ID = "is not a whole number from 1 to 9223372036854775807"


@pytest.mark.parametrize(
    ("line", "mistake"),
    [
        ("servers,1,create,,,", "entity 'servers' is none of clients, users, locations, contacts, assets"),
        ("=clients,1,create,,,", "entity '=clients' is none of clients, users, locations, contacts, assets"),
        ("clients,,create,,,", f"bms_id '' {ID}"),
        ("clients,0,create,,,", f"bms_id '0' {ID}"),
        ("clients,-1,create,,,", f"bms_id '-1' {ID}"),
        ("clients,1e3,create,,,", f"bms_id '1e3' {ID}"),
        ("clients,17.0,create,,,", f"bms_id '17.0' {ID}"),
        ("clients,1_0,create,,,", f"bms_id '1_0' {ID}"),
        ("clients,１２,create,,,", f"bms_id '１２' {ID}"),
        ("clients,9223372036854775808,create,,,", f"bms_id '9223372036854775808' {ID}"),
        ("clients,1,include as create,,,", f"decision 'include as create' is none of {', '.join(VERBS)}"),
        ("clients,1,=create,,,", f"decision '=create' is none of {', '.join(VERBS)}"),
        ("clients,1,match,,,", "match needs the Passportal id in the column match_to"),
        ("clients,1,match", "match needs the Passportal id in the column match_to"),
        ("clients,1,match,1.23457E+19,,", "match_to '1.23457E+19' was shortened by a spreadsheet; "),
        ("clients,1,create,p1,,", "match_to goes only with match and branch, and the decision is create"),
        ("clients,1,create,,maybe,", "allow_duplicate 'maybe' is neither yes nor no"),
        ("clients,1,exclude,,yes,", "allow_duplicate goes only with create, and the decision is exclude"),
        ("clients,1,create,,,,", "7 cells, but the header has 6"),
        ('clients,1,create,,,"open', "a quote that is not closed"),
        ('clients,1,create,,,"a"b', "a quote that is not closed, or not doubled"),
        ("clients,1,crea\0te,,,", "a NUL byte"),
        (f"clients,1,create,,,{'x' * 140_000}", "a quote that is not closed"),
    ],
)
def test_each_mistake_is_told_with_its_line(tmp_path: Path, line: str, mistake: str) -> None:
    told = mistakes_in(csv_file(tmp_path, "clients,99,exclude", line))
    assert len(told) == 1
    assert told[0].startswith(f"line 3: {mistake}")


def test_all_mistakes_are_told_at_once_in_order(tmp_path: Path) -> None:
    lines = ["x,y,z,,huh,", "clients,1,create,,,,,", "clients,1,exclude", 'clients,2,"a"b', "clients,3,create"]
    told = mistakes_in(csv_file(tmp_path, *lines))
    assert [each.split(":")[0] for each in told] == ["line 2"] * 4 + ["line 3", "line 5"]


def test_the_first_twenty_of_many_mistakes(tmp_path: Path) -> None:
    file = csv_file(tmp_path, *[f"clients,{number},huh" for number in range(1, 31)])
    with pytest.raises(DecisionFileInvalid, match=r"^decisions\.csv has 30 mistakes:\nline 2: "):
        read_decisions(file)
    told = mistakes_in(file)
    assert len(told) == 21
    assert told[-1] == "and 10 more"


@pytest.mark.parametrize(
    ("header", "mistakes"),
    [
        ("name,why", ["line 1: there is no column 'entity'", "line 1: there is no column 'bms_id'"]),
        ("entity,bms_id,decision,Decision", ["line 1: there are 2 columns 'decision'"]),
        ("", ["line 1: there is no column 'entity'"]),
    ],
)
def test_columns_that_are_missing_or_there_twice(tmp_path: Path, header: str, mistakes: list[str]) -> None:
    assert mistakes_in(csv_file(tmp_path, "a,b,c", header=header))[: len(mistakes)] == mistakes
    assert mistakes_in(xlsx_file(tmp_path, ["a"], header=header))[: len(mistakes)] == mistakes


def test_two_decisions_for_one_record(tmp_path: Path) -> None:
    same = "clients,1,match,p1,,because"
    assert read_decisions(csv_file(tmp_path, same, "users,1,exclude", same)) == [
        Decision("match", "clients", 1, "p1", why="because", line=2),
        Decision("exclude", "users", 1, line=3),
    ]
    assert mistakes_in(csv_file(tmp_path, same, "clients,1,match,p1,,other", "clients,01,exclude")) == [
        "line 3: clients 1 has another decision on line 2",
        "line 4: clients 1 has another decision on line 2",
    ]


def test_two_records_matched_to_one(tmp_path: Path) -> None:
    file = csv_file(tmp_path, "clients,1,match,p1", "users,5,match,p1", "clients,2,match,p1", "clients,3,unmatch")
    assert mistakes_in(file) == ["line 4: clients 2: 'p1' is already matched to 1 on line 2"]


def test_hostile_values_are_told_harmlessly(tmp_path: Path) -> None:
    hostile = "\x1b[2J\u202e" + "long" * 100
    told = mistakes_in(csv_file(tmp_path, f'{hostile},{hostile},{hostile},,"{hostile}\n",'))
    assert len(told) == 4
    assert all(each.isprintable() and len(each) < 160 and r"'\x1b[2J\u202elong" in each for each in told)
    file = csv_file(tmp_path, "a,1,create").rename(tmp_path / "\x1b[2J.csv")
    with pytest.raises(DecisionFileInvalid) as refused:
        read_decisions(file)
    assert refused.value.message.startswith(r"'\x1b[2J.csv' has ")


# -------------------------------------------------------------------------------------------- files that are refused


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_without_its_mark_is_refused(tmp_path: Path, encoding: str) -> None:
    with pytest.raises(
        DecisionFileInvalid, match=r"not UTF-8: line 1: it looks like UTF-16 without its mark\n→ .*UTF-8"
    ):
        read_decisions(csv_file(tmp_path, "clients,1,create", encoding=encoding))


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_is_read_by_its_mark_and_refused_where_it_is_cut(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "decisions.csv"
    content = f"\ufeff{HEADER}\r\nclients,1,exclude,,,Zoë\r\n".replace(",", "\t").encode(encoding)
    file.write_bytes(content)
    assert read_decisions(file) == [Decision("exclude", "clients", 1, why="Zoë", line=2)]
    file.write_bytes(content[:-1])
    with pytest.raises(DecisionFileInvalid, match="broken UTF-16"):
        read_decisions(file)


def test_the_first_bad_byte_is_told(tmp_path: Path) -> None:
    lines = ["clients,1,create"] * 5000
    with pytest.raises(DecisionFileInvalid, match=r"line 5002: the byte 0xeb is not valid there\n→ .*CSV UTF-8"):
        read_decisions(csv_file(tmp_path, *lines, "clients,2,create,,,Zoë", encoding="cp1252"))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_no_file_or_too_large(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DecisionFileInvalid, match="is not there"):
        read_decisions(tmp_path / f"nowhere{suffix}")
    (tmp_path / f"folder{suffix}").mkdir()
    with pytest.raises(DecisionFileInvalid, match="is not a file"):
        read_decisions(tmp_path / f"folder{suffix}")
    with (tmp_path / f"large{suffix}").open("wb") as stream:
        stream.truncate(100 * 1024**2 + 1)
    with pytest.raises(DecisionFileInvalid, match="too large: 100 MB, of at most 100"):
        read_decisions(tmp_path / f"large{suffix}")


def test_an_empty_csv(tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    (mistake,) = mistakes_in(tmp_path / "a.csv")
    assert "it is empty" in mistake


def broken_archives() -> Iterator[tuple[str, bytes]]:
    yield "empty", b""
    yield "text", b"entity,bms_id,decision"
    yield "password", bytes.fromhex("d0cf11e0a1b11ae1") + bytes(2000)
    stream = io.BytesIO()
    Workbook().save(stream)
    whole = stream.getvalue()
    yield "cut", whole[: len(whole) // 2]
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        start = archive.getinfo("xl/worksheets/sheet1.xml").header_offset + 60
    yield "damaged", whole[:start] + bytes(40) + whole[start + 40 :]
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("readme.txt", "not a workbook")
    yield "zip", other.getvalue()


@pytest.mark.parametrize("content", [pytest.param(content, id=name) for name, content in broken_archives()])
def test_a_broken_xlsx(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.xlsx").write_bytes(content)
    with pytest.raises(DecisionFileInvalid, match=r"cannot be read as XLSX: .*\n→ .*save it without a password"):
        read_decisions(tmp_path / "a.xlsx")


@pytest.mark.parametrize(
    "rows",
    [
        '<row r="1"><c r="A1"',
        '<row r="1048577"><c r="A1048577"/></row>',
        '<row r="one"/>',
        '<row r="1"><c r="A1" t="s"><v>99</v></c></row>',
        "<x/>" * 30_000,
    ],
    ids=["cut", "too many rows", "no number", "no such text", "too many elements"],
)
def test_a_sheet_that_makes_no_sense(tmp_path: Path, rows: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xlsx_reader, "_MOST_TAGS", 10_000)
    with pytest.raises(DecisionFileInvalid, match="cannot be read as XLSX"):
        read_decisions(sheet_file(tmp_path, rows))


def test_a_zip_bomb(tmp_path: Path) -> None:
    file = xlsx_file(tmp_path)
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("xl/worksheets/sheet2.xml", "w") as part:
            part.write(b"<worksheet/>")
        archive.getinfo("xl/worksheets/sheet2.xml").file_size = 2**30
    with pytest.raises(DecisionFileInvalid, match="unpacks to 1024 MB, of at most 512"):
        read_decisions(file)


HUGE = {
    "one cell": ('<row r="1"><c r="A1" t="str"><v>', "x" * 50, 6_000_000, "</v></c></row>"),
    "one cell in pieces": ('<row r="1"><c r="A1" t="str"><v>', "x" * 50 + "<y/>", 6_000_000, "</v></c></row>"),
    "one cell of brackets": ('<row r="1"><c r="A1" t="str"><v><![CDATA[', "<" * 50, 6_000_000, "]]></v></c></row>"),
    "rows in rows": ("", "<row>" * 10, 5_000_000, ""),
    "rows in rows that hold something": ("", "<row><c/>" * 10, 4_000_000, ""),
}
UNFINISHED = {
    "one attribute": ('<row r="1"><c r="', "A" * 50, 6_000_000, '1"/></row>'),
    "one comment": ("<!--", "x" * 50, 6_000_000, "-->"),
}
"""What the parser looks through again with each piece that comes: ten seconds up to the limit as it is."""
QUARTER = xlsx_reader._MOST_BYTES // 4


@pytest.mark.parametrize(
    ("what", "most_bytes"),
    [
        *((what, xlsx_reader._MOST_BYTES) for what in HUGE),
        *((what, QUARTER) for what in UNFINISHED),
        *(pytest.param(what, xlsx_reader._MOST_BYTES, marks=pytest.mark.soak) for what in UNFINISHED),
    ],
)
def test_nothing_huge_inside_a_small_file_fills_the_memory(tmp_path: Path, what: str, most_bytes: int) -> None:
    before, piece, times, after = (HUGE | UNFINISHED)[what]
    file = xlsx_file(tmp_path)
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist() if name != SHEET_PART}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
        with archive.open(SHEET_PART, "w") as sheet:
            sheet.write(f'<worksheet xmlns="{MAIN}"><sheetData>{before}'.encode())
            for _ in range(times // 100_000):
                sheet.write(piece.encode() * 100_000)
            sheet.write(f"{after}</sheetData></worksheet>".encode())
    read_there = (
        "import resource, sys; from pathlib import Path; from bms_pipeline.core.errors import DecisionFileInvalid\n"
        "from bms_pipeline.spreadsheet.decisions import read_decisions\n"
        "from bms_pipeline.spreadsheet import xlsx_reader\n"
        f"xlsx_reader._MOST_BYTES = {most_bytes}\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n    read_decisions(Path(sys.argv[1]))\nexcept DecisionFileInvalid as error:\n    print(error)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)\n"
    )
    command = [sys.executable, "-c", read_there, str(file)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "too large" in said or "unpacks to" in said, said
    assert int(said.split()[-1]) < 300, f"{said.split()[-1]} MB"


# --------------------------------------------------------------------------------------------- what an XLSX may hold


def test_values_of_xlsx(tmp_path: Path) -> None:
    file = xlsx_file(
        tmp_path,
        ["clients", 17, "match", 4711, None, 5],
        ["clients", 18.0, "match", 4712.0, False, 1.5],
        [],
        ["clients", "19", "create", None, True, None],
        ["clients", "20", "create", "", 1, "Zoë_x0041_"],
    )
    assert read_decisions(file) == [
        Decision("match", "clients", 17, "4711", why="5", line=2),
        Decision("match", "clients", 18, "4712", why="1.5", line=3),
        Decision("create", "clients", 19, allow_duplicate=True, line=5),
        Decision("create", "clients", 20, allow_duplicate=True, why="ZoëA", line=6),
    ]


def test_unusable_cells_are_mistakes(tmp_path: Path) -> None:
    file = xlsx_file(
        tmp_path,
        ["clients", "=1+1", "create"],
        ["=A2", 1, "create"],
        ["clients", 2, '="create"'],
        ["clients", 3, "match", "=B2"],
        ["clients", datetime.datetime(2026, 1, 2), "create"],
        ["clients", 10**15, "create"],
        ["clients", 1.5, "create"],
        ["clients", "#N/A", "create"],
        ["=A2", "=B2", None],
        ["clients", 4, "create", None, "=A1", "=A1"],
    )
    assert mistakes_in(file) == [
        "line 2: bms_id is a formula, not a value",
        "line 3: entity is a formula, not a value",
        "line 4: decision is a formula, not a value",
        "line 5: match_to is a formula, not a value",
        "line 6: bms_id is a date, not a value",
        "line 7: bms_id is a number of more than 15 digits, which spreadsheets round; format it as text, then enter it",
        f"line 8: bms_id '1.5' {ID}",
        "line 9: bms_id is an error, '#N/A'",
        "line 11: allow_duplicate is a formula, not a value",
        "line 11: why is a formula, not a value",
    ]


def test_the_sheet_named_decisions_goes_before_the_first(tmp_path: Path) -> None:
    workbook = Workbook()
    workbook.worksheets[0].append(["my notes"])
    workbook.create_chartsheet("Chart", 0)
    sheet = workbook.create_sheet("Decisions")
    for line in (HEADER.split(","), ["clients", 1, "exclude"]):
        sheet.append(line)
    sheet["A2"].font = Font(bold=True)
    workbook.save(tmp_path / "a.xlsx")
    assert read_decisions(tmp_path / "a.xlsx") == [Decision("exclude", "clients", 1, line=2)]
    sheet.title = "Sheet9"
    workbook.save(tmp_path / "a.xlsx")
    assert mistakes_in(tmp_path / "a.xlsx")[0] == "line 1: there is no column 'entity'"


def inline(where: str, text: str) -> str:
    at = f' r="{where}"' if where else ""
    return f'<c{at} t="inlineStr"><is><t>{text}</t></is></c>'


FIRST_ROW = "".join(inline(where, text) for where, text in (("A1", "entity"), ("B1", "bms_id"), ("C1", "decision")))


def sheet_row(n: int, decision: str, other: str) -> str:
    id_cell = f'<c r="B{n}"><v>{n}</v></c>'
    return f'<row r="{n}">{inline(f"A{n}", "clients")}{other}{id_cell}{inline(f"C{n}", decision)}</row>'


WAYS = {
    "plain": f'<row r="1">{FIRST_ROW}</row>'
    f'<row r="2">{inline("A2", "clients")}<c r="B2"><v>1</v></c>{inline("C2", "create")}</row>',
    "without places": f"<row>{inline('', 'entity')}{inline('', 'bms_id')}{inline('', 'decision')}</row>"
    f"<row>{inline('', 'clients')}<c><v>1.0E0</v></c>{inline('', 'create')}</row>",
    "runs and CDATA": f'<row r="1">{FIRST_ROW}</row><row r="2">'
    '<c r="A2" t="inlineStr"><is><r><t>cli</t></r><rPh><t>x</t></rPh><r><t>ents</t></r></is></c>'
    '<c r="B2"><v>1</v></c><c r="C2" t="str"><v>cre<![CDATA[ate]]></v></c><c r="D2"/></row>',
}


@pytest.mark.parametrize("rows", WAYS.values(), ids=WAYS)
def test_ways_to_write_a_sheet(tmp_path: Path, rows: str) -> None:
    assert read_decisions(sheet_file(tmp_path, rows)) == [Decision("create", "clients", 1, line=2)]


@pytest.mark.parametrize(
    "other",
    [
        '<c r="D{n}"/>',
        '<c r="AA{n}" s="1"><v>5</v></c>',
        inline("CA{n}", "x" * 900),
        inline("D{n}", "&lt;c r=&quot;E9&quot;&gt; x"),
        "<!-- <c r='D1'> <c r=\"D{n}\"> -->",
        '<?note <c r="D{n}"> ?>',
        '<c r="D{n}" t="str"><v><![CDATA[<c r="D{n}">]]></v></c>',
    ],
)
def test_cells_that_are_passed_over_take_nothing_with_them(tmp_path: Path, other: str) -> None:
    """Enough rows that the cells are taken out of the text before it is parsed."""
    rows = (sheet_row(n, "create", other.format(n=n)) for n in range(2, 2000))
    taken = read_decisions(sheet_file(tmp_path, f'<row r="1">{FIRST_ROW}</row>{"".join(rows)}'))
    assert [(each.bms_id, each.line) for each in taken] == [(n, n) for n in range(2, 2000)]


def test_a_date_by_a_format_of_its_own(tmp_path: Path) -> None:
    file = xlsx_file(tmp_path, ["clients", 46000, "create"], ["clients", 5, "create"])
    workbook = load_workbook(file)
    workbook.worksheets[0]["B2"].number_format = '[$-409]d"."mmm" "yyyy'
    workbook.worksheets[0]["B3"].number_format = "#,##0.00"
    workbook.save(file)
    assert mistakes_in(file) == ["line 2: bms_id is a date, not a value"]


# ------------------------------------------------------------------------------------------------------------- speed

LINES = 100_000
WRONG = {7: "huh", 50_000: "match", 100_001: "="}


def told_of(make: Callable[[int], Path]) -> list[str]:
    """What is told of the file of all lines, which may take ten times as long as a tenth of it, and some more.

    In seconds of this process, and as a ratio: the machine that tests may be busy or slow.
    """
    seconds = []
    for lines in (LINES // 10, LINES):
        file = make(lines)
        started = time.process_time()
        told = mistakes_in(file)
        seconds.append(time.process_time() - started)
    assert seconds[1] < 30 * seconds[0]
    return told


def test_a_hundred_thousand_lines_of_csv(tmp_path: Path) -> None:
    def make(lines: int) -> Path:
        return csv_file(tmp_path, *(f"clients,{n},{WRONG.get(n, 'exclude')},,,because" for n in range(2, lines + 2)))

    assert [line.split(":")[0] for line in told_of(make)] == ["line 7", "line 50000", "line 100001"]


@pytest.mark.soak
def test_a_hundred_thousand_lines_of_xlsx(tmp_path: Path) -> None:
    def make(lines: int) -> Path:
        rows = (sheet_row(n, WRONG.get(n, "exclude"), f'<c r="D{n}"/>') for n in range(2, lines + 2))
        return sheet_file(tmp_path, f'<row r="1">{FIRST_ROW}</row>{"".join(rows)}')

    assert [line.split(":")[0] for line in told_of(make)] == ["line 7", "line 50000", "line 100001"]
