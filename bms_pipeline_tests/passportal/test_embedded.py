"""The embedded Passportal: what it refuses, what it keeps, and that any text comes back as it went in."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import duckdb
import pytest

from bms_pipeline.core.entities import BY_NAME, CLIENTS, CONTACTS, ENTITIES, USERS, Entity
from bms_pipeline.core.errors import WarehouseError
from bms_pipeline.core.vocabulary import Outcome
from bms_pipeline.passportal.embedded import EmbeddedPassportal
from bms_pipeline.passportal.target import Write, Written
from bms_pipeline.warehouse.connection import connect
from bms_pipeline_tests.building import in_passportal, opened_world, write_ndjson

HOSTILE = {
    "quotes": 'O\'Neil "Bob" `x` \\ $1 {0} %s',
    "sql": "'; DROP TABLE records; --",
    "markup": "<script>alert(1)</script>",
    "formula": '=HYPERLINK("http://x")',
    "control characters": "".join(map(chr, range(1, 32))) + "\x7f\x85",
    "line ends": "a\r\nb\nc\rd",
    "right-to-left override": "\u202eevil\u202c عربى",
    "zero width": "Ac\u200bme\ufeff",
    "emoji": "👩‍👩‍👧‍👦 🏳️‍🌈",
    "decomposed": "Cafe\u0301",
    "noncharacters": "\ufffe\uffff\U0010ffff",
    "json": '{"a": [1, "b"]}',
    "one megabyte": "Ä" * 500_000,
}


@pytest.fixture
def passportal(tmp_path: Path) -> Iterator[EmbeddedPassportal]:
    with opened_world(tmp_path / "home") as world:
        yield world.passportal


@pytest.fixture
def client(passportal: EmbeddedPassportal, tmp_path: Path) -> str:
    """The id of a client that a person has entered."""
    enter(passportal, tmp_path, CLIENTS, in_passportal("C1", "Acme", phone="555"))
    return "C1"


def enter(passportal: EmbeddedPassportal, folder: Path, entity: Entity, *rows: dict[str, Any]) -> int:
    """Take ``rows`` in as a person's import does."""
    return passportal.import_file(entity, write_ndjson(folder / "import.ndjson", rows))


def snapshot(passportal: EmbeddedPassportal, folder: Path, entity: Entity) -> list[dict[str, Any]]:
    """All records of ``entity`` as a snapshot shows them."""
    file = folder / "it's a snapshot.parquet"
    passportal.snapshot(entity, file)
    found = duckdb.read_parquet(str(file)).order("passportal_id")
    columns = found.columns
    return [dict(zip(columns, row, strict=True)) for row in found.fetchall()]


def refusals(outcomes: Sequence[Written]) -> dict[int, str]:
    """BMS id → why it was refused."""
    return {each.bms_id: each.detail for each in outcomes if each.outcome is Outcome.REFUSED}


def person(bms_id: int, client_id: str | None, name: str = "Ann Lee", **values: str) -> Write:
    """A contact to create."""
    return Write(bms_id, client_id, values={"name": name, **values})


def change(bms_id: int, passportal_id: str, column: str, before: str | None, after: str) -> Write:
    """One field to change."""
    return Write(bms_id, None, passportal_id, values={column: after}, before={column: before})


# Creating


def test_a_created_record_bears_its_marker_and_its_id_has_to_be_looked_up(
    passportal: EmbeddedPassportal, client: str, tmp_path: Path
) -> None:
    writes = [person(7, client, email="ann@a.example"), person(8, client, "Bob Ray")]
    assert passportal.create(CONTACTS, writes) == [Written(7, Outcome.DONE), Written(8, Outcome.DONE)]
    found = passportal.find(CONTACTS, writes)
    assert found.keys() == {7, 8}
    stored = {each["passportal_id"]: each for each in snapshot(passportal, tmp_path, CONTACTS)}
    ann = stored[found[7]]
    assert (ann["client_id"], ann["name"], ann["email"], ann["phone"], ann["bms_id"]) == (
        "C1", "Ann Lee", "ann@a.example", None, 7,
    )  # fmt: skip
    assert stored[found[8]]["bms_id"] == 8


def test_creating_twice_makes_two_records_as_the_real_service_does(
    passportal: EmbeddedPassportal, client: str, tmp_path: Path
) -> None:
    for _ in range(2):
        passportal.create(CONTACTS, [person(7, client)])
    assert [each["bms_id"] for each in snapshot(passportal, tmp_path, CONTACTS)] == [7, 7]


@pytest.mark.parametrize("values", [{}, {"name": ""}, {"email": "ann@a.example"}])
def test_a_record_needs_a_title(passportal: EmbeddedPassportal, client: str, values: dict[str, str | None]) -> None:
    outcomes = passportal.create(CONTACTS, [Write(7, client, values=values), person(8, client)])
    assert refusals(outcomes) == {7: "a record needs a title"}
    assert passportal.find(CONTACTS, [person(7, client), person(8, client)]).keys() == {8}


@pytest.mark.parametrize("unknown", ["C9", "", None, "user-1"])
def test_a_document_needs_an_existing_client(passportal: EmbeddedPassportal, client: str, unknown: str | None) -> None:
    passportal.create(USERS, [Write(1, None, values={"name": "Ann"})])
    outcomes = passportal.create(CONTACTS, [person(7, unknown), person(8, client)])
    assert refusals(outcomes) == {7: f"Passportal has no client {unknown}"}


def test_clients_and_users_live_in_no_client(passportal: EmbeddedPassportal) -> None:
    for entity in (CLIENTS, USERS):
        assert refusals(passportal.create(entity, [Write(7, None, values={"name": "Acme"})])) == {}


# Looking


def test_a_marker_is_looked_for_in_its_own_client_and_kind_only(
    passportal: EmbeddedPassportal, client: str, tmp_path: Path
) -> None:
    enter(passportal, tmp_path, CLIENTS, in_passportal("C2", "Beta"))
    passportal.create(CONTACTS, [person(7, client)])
    assert passportal.find(CONTACTS, [person(7, "C2")]) == {}
    assert passportal.find(BY_NAME["assets"], [person(7, client)]) == {}
    assert passportal.find(CONTACTS, []) == {}


# Updating


def test_an_update_changes_what_it_names_and_nothing_else(
    passportal: EmbeddedPassportal, client: str, tmp_path: Path
) -> None:
    with contextlib.closing(connect(tmp_path / "home" / "passportal.duckdb")) as connection:
        connection.execute("UPDATE records SET details = MAP {'Phone': '555', 'Favourite colour': 'blue'}")
    outcomes = passportal.update(CLIENTS, [change(7, client, "email", None, "new@a.example")])
    assert refusals(outcomes) == {}
    with contextlib.closing(connect(tmp_path / "home" / "passportal.duckdb")) as connection:
        rows = connection.execute("SELECT id, title, details, marker FROM records").fetchall()
    assert rows == [("C1", "Acme", {"Phone": "555", "Favourite colour": "blue", "Email": "new@a.example"}, "7")]


def test_an_update_without_values_sets_the_marker(passportal: EmbeddedPassportal, client: str, tmp_path: Path) -> None:
    assert refusals(passportal.update(CLIENTS, [Write(7, None, client)])) == {}
    (stored,) = snapshot(passportal, tmp_path, CLIENTS)
    assert (stored["name"], stored["phone"], stored["bms_id"]) == ("Acme", "555", 7)


def test_an_update_of_what_changed_meanwhile_is_refused_by_field_and_the_others_go_on(
    passportal: EmbeddedPassportal, client: str, tmp_path: Path
) -> None:
    enter(passportal, tmp_path, CLIENTS, in_passportal("C2", "Beta"))
    outcomes = passportal.update(
        CLIENTS,
        [
            Write(7, None, client, {"name": "Acme Ltd", "phone": "556"}, {"name": "Acme", "phone": "444"}),
            change(8, "C2", "name", "Beta", "Beta Ltd"),
        ],
    )
    assert refusals(outcomes) == {7: "stale: changed meanwhile: Phone"}
    assert [each["name"] for each in snapshot(passportal, tmp_path, CLIENTS)] == ["Acme", "Beta Ltd"]


def test_an_update_of_a_record_that_is_gone_or_bears_another_marker_is_refused(
    passportal: EmbeddedPassportal, client: str, tmp_path: Path
) -> None:
    passportal.update(CLIENTS, [Write(7, None, client)])
    outcomes = passportal.update(CLIENTS, [Write(8, None, client), Write(9, None, "C9"), Write(10, None, None)])
    assert refusals(outcomes) == {
        8: "it bears the marker of BMS id 7",
        9: "the record is gone from Passportal",
        10: "the record is gone from Passportal",
    }
    assert [each["bms_id"] for each in snapshot(passportal, tmp_path, CLIENTS)] == [7]


def test_an_empty_value_before_is_as_good_as_none(passportal: EmbeddedPassportal, tmp_path: Path) -> None:
    enter(passportal, tmp_path, CLIENTS, in_passportal("C1", "Acme", phone=""))
    assert refusals(passportal.update(CLIENTS, [change(7, "C1", "phone", None, "555")])) == {}


# Importing and snapshots


def test_imported_records_bear_no_marker_and_keep_the_ids_they_came_with(
    passportal: EmbeddedPassportal, tmp_path: Path
) -> None:
    assert (
        enter(passportal, tmp_path, CLIENTS, in_passportal("C1", "Acme", phone="5"), in_passportal("C2", "Acme")) == 2
    )
    assert enter(passportal, tmp_path, CLIENTS, in_passportal("C3", "Beta")) == 3
    stored = snapshot(passportal, tmp_path, CLIENTS)
    assert [(each["passportal_id"], each["name"], each["phone"], each["bms_id"]) for each in stored] == [
        ("C1", "Acme", "5", None),
        ("C2", "Acme", None, None),
        ("C3", "Beta", None, None),
    ]


def test_an_import_that_cannot_be_read_leaves_nothing(
    passportal: EmbeddedPassportal, client: str, tmp_path: Path
) -> None:
    file = write_ndjson(tmp_path / "broken.ndjson", [in_passportal("C2", "Beta")])
    file.write_text(file.read_text() + "{", encoding="utf-8")
    with pytest.raises(duckdb.Error):
        passportal.import_file(CLIENTS, file)
    assert [each["passportal_id"] for each in snapshot(passportal, tmp_path, CLIENTS)] == ["C1"]


@pytest.mark.parametrize("entity", ENTITIES, ids=lambda each: each.name)
def test_a_snapshot_has_the_columns_that_are_promised(
    passportal: EmbeddedPassportal, tmp_path: Path, entity: Entity
) -> None:
    passportal.snapshot(entity, tmp_path / "empty.parquet")
    found = duckdb.read_parquet(str(tmp_path / "empty.parquet"))
    assert set(found.columns) == {
        "passportal_id",
        "client_id",
        "bms_id",
        "last_modified",
        *entity.columns,
    }
    assert found.fetchall() == []


def test_any_text_comes_back_as_it_went_in(passportal: EmbeddedPassportal, client: str, tmp_path: Path) -> None:
    texts = list(HOSTILE.values())
    created = [person(number, client, text, email=text) for number, text in enumerate(texts)]
    assert refusals(passportal.create(CONTACTS, created)) == {}
    found = passportal.find(CONTACTS, created)
    changes = [
        Write(n, client, found[n], {"phone": text}, {"name": text, "email": text}) for n, text in enumerate(texts)
    ]
    assert refusals(passportal.update(CONTACTS, changes)) == {}
    imported = [in_passportal(f"P{n}", text, "C1", email=text, phone=text) for n, text in enumerate(texts)]
    enter(passportal, tmp_path, CONTACTS, *imported)
    stored = snapshot(passportal, tmp_path, CONTACTS)
    back = {each["passportal_id"]: (each["name"], each["email"], each["phone"]) for each in stored}
    for number, (case, text) in enumerate(HOSTILE.items()):
        assert back[found[number]] == (text, text, text), case
        assert back[f"P{number}"] == (text, text, text), case


# The file


def test_a_damaged_leftover_of_a_killed_process_is_no_obstacle(tmp_path: Path) -> None:
    """In a container the next process often has the same id as the one that was killed."""
    for pid in (os.getpid(), 1):
        (tmp_path / f".passportal.duckdb.{pid}.new").write_bytes(b"half a file")
    assert snapshot(EmbeddedPassportal(tmp_path / "passportal.duckdb"), tmp_path, CLIENTS) == []


def test_processes_that_make_the_file_at_once_lose_no_record(tmp_path: Path) -> None:
    file = tmp_path / "passportal.duckdb"
    ready = Barrier(4)

    def make(number: int) -> None:
        own = tmp_path / str(number)
        own.mkdir()
        ready.wait(60)
        enter(EmbeddedPassportal(file), own, CLIENTS, in_passportal(f"C{number}", f"Acme {number}"))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(make, range(4)))
    names = {client["name"] for client in snapshot(EmbeddedPassportal(file), tmp_path, CLIENTS)}
    assert names == {f"Acme {number}" for number in range(4)}
    assert [made.name for made in tmp_path.iterdir() if ".new" in made.name] == []


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "passportal.duckdb"
    file.write_bytes(b"not a database")
    with pytest.raises(WarehouseError, match=str(file)):
        EmbeddedPassportal(file).find(CLIENTS, [])
