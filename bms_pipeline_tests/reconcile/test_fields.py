"""Which value wins: what BMS had and Passportal had at the last load, what they have now (rule 6).

The table is one world: each case is a contact, its job title the field.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from bms_pipeline.core.entities import CLIENTS, CONTACTS
from bms_pipeline_tests.building import Operation, Row, World, account, contact, in_passportal, opened_world

TITLE = (
    "UPDATE records SET details = map_concat(details, MAP {'Job Title': ?::VARCHAR})"
    " WHERE marker = ? AND type = 'contact'"
)


class Case(NamedTuple):
    """A value each at the last load, and now. ``expected``: what is written, ``kept``, or nothing."""

    loaded: str | None
    in_passportal_then: str | None
    bms: str | None
    passportal: str | None
    expected: str


UNCHANGED, KEPT = "unchanged", "kept"
CASES = {
    "nothing changed": Case("a", "a", "a", "a", UNCHANGED),
    "BMS changed": Case("a", "a", "b", "a", "write b"),
    "a person changed it": Case("a", "a", "a", "c", KEPT),
    "both changed it": Case("a", "a", "b", "c", KEPT),
    "both changed it to the same": Case("a", "a", "b", "b", UNCHANGED),
    "BMS was emptied": Case("a", "a", None, "a", UNCHANGED),
    "BMS became blank": Case("a", "a", "  ", "a", UNCHANGED),
    "BMS was emptied, a person changed it": Case("a", "a", None, "c", UNCHANGED),
    "a person emptied it": Case("a", "a", "a", None, KEPT),
    "BMS changed, a person emptied it": Case("a", "a", "b", None, KEPT),
    "both emptied it": Case("a", "a", None, None, UNCHANGED),
    "BMS has one now": Case(None, None, "b", None, "write b"),
    "a person entered one": Case(None, None, None, "c", UNCHANGED),
    "both have one now": Case(None, None, "b", "c", KEPT),
    "both have the same now": Case(None, None, "b", "b", UNCHANGED),
    "they differed from the start": Case("a", "p", "a", "p", KEPT),
    "they differed, BMS changed": Case("a", "p", "b", "p", "write b"),
    "they differed, a person changed it": Case("a", "p", "a", "c", KEPT),
    "they differed, a person made them equal": Case("a", "p", "a", "a", UNCHANGED),
    "only Passportal had one, BMS has one now": Case(None, "p", "b", "p", "write b"),
    "only upper case changed": Case("cto", "cto", "CTO", "cto", "write CTO"),
    "only blanks around it": Case("a", "a", " a ", "a", UNCHANGED),
    "hostile": Case("a", "a", "'\"\x01\u202e<b>", "a", "write '\"\x01\u202e<b>"),
}
NUMBERED = dict(enumerate(CASES.items(), start=1))


def titled(number: int, value: str | None) -> Row:
    """The contact of a case."""
    return contact(number, 1, "Person", str(number), jobTitle=value)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """All cases as they are now; reconciled and planned."""
    with opened_world(tmp_path_factory.mktemp("fields"), entities=(CLIENTS, CONTACTS)) as world:
        world.accounts = [account(1, "Acme")]
        world.contacts = [titled(n, case.loaded) for n, (_, case) in NUMBERED.items()]
        rows = [
            in_passportal(f"P{n}", f"Person {n}", "C1", job_title=case.in_passportal_then)
            for n, (_, case) in NUMBERED.items()
            if n % 2 or case.loaded != case.in_passportal_then  # every other one is created
        ]
        world.passportal_holds(clients=[in_passportal("C1", "Acme")], contacts=rows)
        world.cycle()
        world.contacts = [titled(n, case.bms) for n, (_, case) in NUMBERED.items()]
        for n, (_, case) in NUMBERED.items():
            world.edit_passportal(TITLE, case.passportal, str(n))
        world.plan()
        yield world


@pytest.fixture(scope="module")
def planned(loaded: World) -> dict[int, Operation]:
    """The plan, by number of the case."""
    return loaded.operations("contacts")


@pytest.mark.parametrize(("number", "case"), [pytest.param(n, case, id=name) for n, (name, case) in NUMBERED.items()])
def test_which_value_wins(planned: dict[int, Operation], number: int, case: Case) -> None:
    found = planned[number]
    if case.expected.startswith("write "):
        assert found.operation == "update"
        assert found.reason == "bms_changed"
        assert found.changes == {"job_title": (case.passportal, case.expected.removeprefix("write "))}
        assert found.kept == {}
    elif case.expected == KEPT:
        assert (found.operation, found.reason, found.changes) == ("skip", "passportal_value_kept", {})
        assert found.kept == {"job_title": (case.bms, case.passportal)}
    else:
        assert found == Operation("skip", "unchanged", {}, {})


def test_loading_it_writes_just_that_and_then_there_is_nothing_to_do(loaded: World, tmp_path: Path) -> None:
    loaded.finish()
    stored = {each.marker: each.details.get("Job Title") or None for each in loaded.content() if each.type == "contact"}
    for number, (name, case) in NUMBERED.items():
        written = case.expected.removeprefix("write ") if case.expected.startswith("write ") else case.passportal
        assert stored[str(number)] == written, name
    assert loaded.plan().operations == 0


# What takes more than one round


@pytest.fixture(scope="module")
def adopted(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A contact that was adopted with a job title and a mobile phone."""
    with opened_world(tmp_path_factory.mktemp("adopted"), entities=(CLIENTS, CONTACTS)) as world:
        world.accounts = [account(1, "Acme")]
        world.contacts = [titled(1, "a")]
        world.passportal_holds(
            clients=[in_passportal("C1", "Acme")],
            contacts=[in_passportal("P1", "Person 1", "C1", job_title="a", mobile_phone="555")],
        )
        world.cycle()
    return world


@pytest.fixture
def world(adopted: World, tmp_path: Path) -> Iterator[World]:
    with opened_world(tmp_path / "home", like=adopted) as world:
        yield world


def test_adopting_fills_what_is_empty_and_leaves_what_is_there(world: World) -> None:
    world.contacts.append(contact(2, 1, "Ann", "Lee", "new@a.example", jobTitle="BMS says"))
    world.passportal_holds(contacts=[in_passportal("P2", "ann lee", "C1", job_title="Passportal says", email=" ")])
    world.plan()
    found = world.operations("contacts")[2]
    assert (found.operation, found.reason) == ("adopt", "identical_name")
    assert found.changes["email"] == (None, "new@a.example")
    assert "job_title" not in found.changes
    assert "name" not in found.changes, "it is identical as matching understands it"
    assert found.kept == {"job_title": ("BMS says", "Passportal says")}
    counts = world.finish()["contacts"]
    assert (counts["adopted"], counts["failed"]) == (1, 0)
    assert world.plan().operations == 0


def test_a_persons_edit_outlives_an_update_of_another_field(world: World) -> None:
    """It was never agreed to, so it is no base to write over."""
    world.edit_passportal(TITLE, "edited", "1")
    world.contacts = [titled(1, "a") | {"locationName": "HQ"}]
    assert world.cycle()["contacts"]["updated"] == 1
    world.contacts = [titled(1, "b") | {"locationName": "HQ"}]
    world.plan()
    assert world.operations("contacts")[1].kept == {"job_title": ("b", "edited")}
    assert world.operations("contacts")[1].operation == "skip"


def test_what_both_sides_came_to_hold_without_us_is_the_base_from_then_on(world: World) -> None:
    world.edit_passportal(TITLE, "b", "1")
    world.contacts = [titled(1, "b")]
    world.cycle()
    world.contacts = [titled(1, "c")]
    world.plan()
    assert world.operations("contacts")[1].changes == {"job_title": ("b", "c")}


def test_an_edit_taken_back_lets_bms_go_on(world: World) -> None:
    world.edit_passportal(TITLE, "edited", "1")
    world.contacts = [titled(1, "b")]
    world.cycle()
    world.edit_passportal(TITLE, "a", "1")
    world.plan()
    assert world.operations("contacts")[1].changes == {"job_title": ("a", "b")}


@pytest.mark.parametrize("blank", [" ", "\u00a0", "\t"], ids=ascii)
def test_blanks_around_a_value_in_passportal_are_no_reason_to_refuse_an_update(world: World, blank: str) -> None:
    world.edit_passportal("UPDATE records SET title = title || ? WHERE id = 'P1'", blank)
    world.edit_passportal(TITLE, f"a{blank}", "1")
    world.contacts = [titled(1, "b") | {"lastName": "Renamed"}]
    assert world.cycle()["contacts"]["failed"] == 0
    assert world.plan().operations == 0
