"""A line of a file has to agree with what is stored: name, client, state, suggested partner. Else it is refused."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from bms_pipeline.core.entities import BY_NAME, CLIENTS, CONTACTS
from bms_pipeline.core.errors import DecisionFileInvalid, DecisionRefused
from bms_pipeline.reconcile.matching import Scope
from bms_pipeline.sync import deciding
from bms_pipeline_tests.building import World, account, contact, in_passportal, opened_world

NAMES = ("Alpha Foods", "Beta Homes", "Gamma Law", "Delta “Dental” – Ltd’s", "Zoë\u00a0Łódź 007")

Cells = dict[str, Any]


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Clients that wait, each with a near-identical one in Passportal."""
    with opened_world(tmp_path_factory.mktemp("planned"), entities=(CLIENTS,)) as world:
        world.passportal_holds(
            clients=[in_passportal(f"C{number}", f"{name} Inc") for number, name in enumerate(NAMES, 1)]
        )
        world.accounts = [account(100 + number, name) for number, name in enumerate(NAMES, 1)]
        world.plan(Scope())
    return world


@pytest.fixture
def clients(planned: World, tmp_path: Path) -> Iterator[World]:
    """A copy of ``planned``."""
    with opened_world(tmp_path / "home", like=planned) as world:
        yield world


def exported(world: World, entity: str = "clients", *dispositions: str) -> Path:
    file = world.settings.bms_pipeline_home / f"{entity}.xlsx"
    deciding.export_file(world.warehouse, BY_NAME[entity], file, dispositions or ("unmatched", "ambiguous"))
    return file


def edited(file: Path, change: Callable[[list[Cells]], None]) -> Path:
    """Do as a person does in a spreadsheet: change the lines, as column → value, and save."""
    book = openpyxl.load_workbook(file)
    sheet = book.worksheets[0]
    header = [str(cell.value) for cell in sheet[1]]
    lines = [dict(zip(header, row, strict=True)) for row in sheet.iter_rows(min_row=2, values_only=True)]
    change(lines)
    for number, line in enumerate(lines, start=2):
        for place, name in enumerate(header, start=1):
            cell = sheet.cell(number, place)
            cell.value = line[name]
            if isinstance(line[name], str):
                cell.data_type = "s"
    book.save(file)
    return file


def match_all(lines: list[Cells]) -> None:
    for line in lines:
        line |= {"decision": "match", "match_to": line["suggestion_1"]}


def apply(world: World, file: Path, dry_run: bool = False) -> deciding.Imported:
    return deciding.import_file(world.warehouse, file, "a person", dry_run=dry_run)


def refusal(world: World, file: Path) -> list[str]:
    before = world.lasting()
    for dry_run in (True, False):
        with pytest.raises(DecisionFileInvalid) as refused:
            apply(world, file, dry_run)
    assert world.lasting() == before
    return refused.value.message.split("\n")[1:]


def test_an_export_that_is_filled_in_agrees_and_its_pairs_are_shown_by_both_names(clients: World) -> None:
    file = edited(exported(clients), match_all)
    shown = apply(clients, file, dry_run=True)
    assert [(pair.line, pair.bms_id, pair.passportal_id, pair.passportal_name) for pair in shown.pairs] == [
        (number + 1, 100 + number, f"C{number}", f"{name} Inc") for number, name in enumerate(NAMES, 1)
    ]
    assert [pair.name for pair in shown.pairs] == [*NAMES]
    assert apply(clients, file).taken == len(NAMES)
    again = apply(clients, file)
    assert (again.taken, again.already) == (0, len(NAMES)), "a decision that holds already is no disagreement"


def moved(values: list[Any], way: str) -> list[Any]:
    """A column's ``values`` as a slip of the hand leaves them."""
    return {
        "sorted": sorted(values, reverse=True),
        "reversed": values[::-1],
        "shifted": [*values[1:], values[0]],
        "shuffled": random.Random(0).sample(values, len(values)),
        "filled down": [values[0]] * len(values),
    }[way]


@pytest.mark.parametrize("column", ["bms_id", "name", "match_to", "suggestion_1", "suggestion_1_name"])
def test_a_column_that_was_moved_on_its_own_matches_nothing(clients: World, column: str) -> None:
    """What is refused leaves the world as it was, so one serves all ways."""
    whole = exported(clients).read_bytes()
    for way in ("sorted", "reversed", "shifted", "shuffled", "filled down"):

        def move(lines: list[Cells], way: str = way) -> None:
            match_all(lines)
            for line, value in zip(lines, moved([line[column] for line in lines], way), strict=True):
                line[column] = value

        file = clients.settings.bms_pipeline_home / f"{way}.xlsx"
        file.write_bytes(whole)
        with pytest.raises((DecisionFileInvalid, DecisionRefused)):
            apply(clients, edited(file, move))
        assert clients.lasting()["matches"] == [], way


def test_whole_lines_may_be_sorted_and_cut(clients: World) -> None:
    def sort(lines: list[Cells]) -> None:
        match_all(lines)
        lines[:] = [*reversed(lines[1:]), dict.fromkeys(lines[0])]

    assert apply(clients, edited(exported(clients), sort)).taken == len(NAMES) - 1


def test_what_a_spreadsheet_makes_of_quotes_dashes_and_blanks_is_the_same_name(clients: World) -> None:
    def retype(lines: list[Cells]) -> None:
        match_all(lines)
        lines[3]["name"] = 'Delta "Dental" - Ltd\'s '
        lines[4]["name"] = "Zoë Łódź  007"

    assert apply(clients, edited(exported(clients), retype)).taken == len(NAMES)


@pytest.mark.parametrize(
    ("column", "value"), [("name", "Zo? ?ód? 007"), ("name", None), ("name", "ZoÃ« 007"), ("disposition", None)]
)
def test_a_cell_that_was_emptied_or_broken_is_refused_with_its_line(
    clients: World, column: str, value: str | None
) -> None:
    def damage(lines: list[Cells]) -> None:
        lines[4] |= {"decision": "exclude", column: value}

    assert [mistake.split(":")[0] for mistake in refusal(clients, edited(exported(clients), damage))] == ["line 6"]


def test_a_line_older_than_a_decision_is_refused_with_who_decided(clients: World) -> None:
    file = edited(exported(clients), match_all)
    clients.exclude("clients", 102)
    (mistake,) = refusal(clients, file)
    assert mistake.startswith("line 3: client 102 stood as unmatched (near_identical_name) and is now excluded (")
    assert "last decided: exclude by" in mistake


def test_a_line_older_than_what_a_sync_found_is_refused(clients: World) -> None:
    file = edited(exported(clients), match_all)
    clients.accounts = [account(101, "Alpha Foods Inc"), *clients.accounts[1:]]
    clients.plan(Scope())
    (mistake,) = refusal(clients, file)
    assert mistake == "line 2: client 101 is 'Alpha Foods Inc', and this line says 'Alpha Foods'"


def test_a_partner_that_was_renamed_in_passportal_is_refused(clients: World) -> None:
    file = edited(exported(clients), match_all)
    clients.edit_passportal("UPDATE records SET title = 'Another one' WHERE id = 'C3'")
    clients.reconcile()
    mistakes = refusal(clients, file)
    assert "line 4: 'C3' is 'Another one' in Passportal, and this line says 'Gamma Law Inc'" in mistakes


def test_who_a_record_is_matched_to_is_part_of_how_it_stood(clients: World) -> None:
    clients.match("clients", 101, "C1")
    file = exported(clients, "clients", "matched")

    def unmatch(lines: list[Cells]) -> None:
        assert [line["matched_to"] for line in lines] == ["C1"]
        lines[0]["decision"] = "unmatch"

    edited(file, unmatch)
    clients.unmatch("clients", 101)
    clients.match("clients", 101, "C5")
    (mistake,) = refusal(clients, file)
    assert ", with C1 and is now matched (" in mistake
    assert ", with C5" in mistake


def test_the_client_of_a_record_has_to_agree(world: World) -> None:
    world.entities = (CLIENTS, CONTACTS)
    world.passportal_holds(clients=[in_passportal("C1", "One"), in_passportal("C2", "Two")])
    world.accounts = [account(1, "One"), account(2, "Two")]
    world.contacts = [contact(11, 1, "Ana", "Berg"), contact(21, 2, "Ana", "Berg")]
    world.plan(Scope())
    world.match("clients", 1, "C1")
    world.match("clients", 2, "C2")
    world.plan(Scope())
    file = exported(world, "contacts", "unmatched", "to_create")

    def swap(lines: list[Cells]) -> None:
        lines[0]["bms_id"], lines[1]["bms_id"] = lines[1]["bms_id"], lines[0]["bms_id"]
        lines[0]["decision"] = "exclude"

    (mistake,) = refusal(world, edited(file, swap))
    assert mistake == "line 2: contact 21 belongs to client 'Two', and this line says 'One'"


def test_a_list_of_ones_own_without_names_is_taken_by_its_ids(clients: World, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("entity,bms_id,decision\nclients,101,exclude\nclients,999,exclude\n")
    with pytest.raises(DecisionRefused, match="line 3: exclude client 999"):
        apply(clients, tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text("entity,bms_id,decision\nclients,101,exclude\n")
    assert [pair.name for pair in apply(clients, tmp_path / "a.csv").pairs] == ["Alpha Foods"]


def test_an_id_whose_zeros_a_spreadsheet_took_never_becomes_another_records(world: World) -> None:
    world.entities = (CLIENTS,)
    world.passportal_holds(clients=[in_passportal("0010", "Alpha Inc"), in_passportal("10", "Another one")])
    world.accounts = [account(1, "Alpha")]
    world.plan(Scope())

    def drop_zeros(lines: list[Cells]) -> None:
        assert lines[0]["suggestion_1"] == "0010"
        lines[0] |= {"decision": "match", "match_to": 10, "suggestion_1": 10}

    (mistake,) = refusal(world, edited(exported(world), drop_zeros))
    assert mistake == "line 2: '10' is 'Another one' in Passportal, and this line says 'Alpha Inc'"
