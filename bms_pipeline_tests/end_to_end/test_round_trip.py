"""Decisions by spreadsheet: export, fill, import; and every way in which a file can be wrong, with nothing applied."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from bms_pipeline_tests.running import Home, running_home

Row = dict[str, str]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with running_home(tmp_path_factory.mktemp("round_trip"), seed=3) as home:
        assert home.call("preview", "--json").returncode == 2
        yield home


def exported(home: Home, entity: str, suffix: str = "csv") -> Path:
    file = home.folder / f"{entity}.{suffix}"
    result = home.call("export", entity, str(file))
    assert result.returncode == 0, result.stderr
    return file


def rows_of(file: Path) -> list[Row]:
    with file.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


def filled(file: Path, rows: list[Row]) -> Path:
    with file.open("w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return file


def lasting(home: Home) -> dict[str, list[tuple[Any, ...]]]:
    tables = ("matches", "exclusions", "approved_creates", "non_matches", "decisions")
    return {each: home.warehouse(f"SELECT * FROM sync.{each} ORDER BY ALL") for each in tables}


def test_an_export_comes_back_filled_is_shown_and_then_applied(home: Home) -> None:
    file = exported(home, "users")
    rows = rows_of(file)
    near = next(each for each in rows if each["reason"] == "near_identical_name")
    near["decision"], near["match_to"], near["why"] = "match", near["suggestion_1"], "the same person"
    waiting = next(each for each in rows if each["reason"] == "several_in_passportal")
    waiting["decision"] = "Exclude"
    before = lasting(home)
    shown = home.call("import", str(filled(file, rows)), "--json")
    assert shown.returncode == 2, shown.stderr
    assert json.loads(shown.stdout)["taken"] == 2
    assert lasting(home) == before, "it was only shown"
    for_people = home.call("import", str(file)).stdout
    assert (
        f"match user {near['bms_id']} {near['name']} → {near['suggestion_1']} {near['suggestion_1_name']}" in for_people
    )
    assert f"exclude user {waiting['bms_id']} {waiting['name']}\n" in for_people
    assert home.call("import", str(file), "--apply").returncode == 0
    assert home.warehouse("SELECT verb, bms_id, why FROM sync.decisions ORDER BY verb") == [
        ("exclude", int(waiting["bms_id"]), ""),
        ("match", int(near["bms_id"]), "the same person"),
    ]
    again = home.call("import", str(file), "--json")
    assert again.returncode == 0, "all of it held already"
    assert json.loads(again.stdout)["already"] == 2


@pytest.mark.parametrize("verb", ["export users", "preview --saved --html", "preview --saved --csv"])
def test_a_file_that_cannot_be_written_is_told_in_one_message(home: Home, verb: str) -> None:
    result = home.call(*verb.split(), str(home.folder / "no" / "such" / "folder" / "file.csv"))
    assert result.returncode == 1
    assert "cannot be written: No such file or directory" in result.stderr.replace("\n", " ")
    assert "Traceback" not in result.stderr


def test_an_xlsx_comes_back_as_well(home: Home) -> None:
    file = exported(home, "clients", "xlsx")
    book = openpyxl.load_workbook(file)
    sheet = book.worksheets[0]
    header = [cell.value for cell in sheet[1]]
    rows = sheet.iter_rows(min_row=2)
    waiting = [each for each in rows if each[header.index("reason")].value == "waits_for_decision"]
    assert waiting
    for row in waiting:
        row[header.index("decision")].value = "create"
    book.save(file)
    result = home.call("import", str(file), "--json")
    assert result.returncode == 2, result.stderr
    assert json.loads(result.stdout)["taken"] == len(waiting)


def one(change: Row) -> Callable[[list[Row]], list[Row]]:
    def wrong(rows: list[Row]) -> list[Row]:
        return [rows[0] | change, *rows[1:]]

    return wrong


def twice(rows: list[Row]) -> list[Row]:
    return [rows[0] | {"decision": "create"}, rows[1], rows[0] | {"decision": "exclude"}]


WRONG: dict[str, tuple[Callable[[list[Row]], list[Row]], str]] = {
    "an id that BMS never listed": (
        one({"bms_id": "987654321", "decision": "exclude"}),
        "line 2: exclude contact 987654321: BMS has listed no contact",
    ),
    "no id at all": (one({"bms_id": "x", "decision": "exclude"}), "line 2:"),
    "two decisions for one record": (twice, "line 4:"),
    "a partner that Passportal lacks": (
        one({"decision": "match", "match_to": "nobody"}), "Passportal has no contact nobody",
    ),
    "another client's record": (one({"decision": "match", "match_to": "ANOTHER"}), "lies in client"),
    "a formula": (one({"decision": "=cmd|'/c calc'!A1"}), "line 2:"),
    "a word that is no decision": (one({"decision": "delete"}), "line 2:"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_line_is_named_and_nothing_is_applied(home: Home, wrong: str) -> None:
    change, told = WRONG[wrong]
    rows = [each for each in rows_of(exported(home, "contacts")) if each["client"]]
    ((elsewhere,),) = home.warehouse(
        "SELECT min(passportal_id) FROM passportal.contacts WHERE client_id IS DISTINCT FROM"
        f" (SELECT client_id FROM sync.reconciled_contacts WHERE bms_id = {rows[0]['bms_id']})"
    )
    rows = [
        {name: value.replace("ANOTHER", elsewhere) if name == "match_to" else value for name, value in row.items()}
        for row in change(rows)
    ]
    before = lasting(home)
    result = home.call("import", str(filled(home.folder / "wrong.csv", rows)), "--apply")
    assert result.returncode == 1
    assert told in result.stderr.replace("\n", " "), result.stderr
    assert "Traceback" not in result.stderr
    assert lasting(home) == before


def test_another_encoding_is_refused_with_what_to_do(home: Home) -> None:
    file = home.folder / "latin.csv"
    file.write_bytes("entity,bms_id,decision,why\nclients,1,exclude,Müller\n".encode("cp1252"))
    result = home.call("import", str(file), "--apply")
    assert result.returncode == 1
    assert "line 2" in result.stderr
    assert "UTF-8" in result.stderr


def test_a_hundred_thousand_lines_are_answered(home: Home) -> None:
    """All of them name records that BMS does not have; a line that cannot even be read is named by its number."""
    file = home.folder / "long.csv"
    lines = [f"contacts,{10**9 + n},exclude" for n in range(100_000)]
    file.write_text("entity,bms_id,decision\n" + "\n".join(lines) + "\n", encoding="utf-8")
    result = home.call("import", str(file), "--apply")
    assert result.returncode == 1
    assert "100,000 of 100,000 decisions cannot be taken, so none was" in result.stderr
    lines[41] = "contacts,x,exclude"
    file.write_text("entity,bms_id,decision\n" + "\n".join(lines[:100]) + "\n", encoding="utf-8")
    assert "line 43:" in home.call("import", str(file), "--apply").stderr
    assert home.warehouse("SELECT count(*) FROM sync.exclusions WHERE bms_id >= 1000000000") == [(0,)]
