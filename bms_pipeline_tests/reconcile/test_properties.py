"""What holds for any records at all: nobody is guessed, doubled, moved across a client or decided by chance.

Hypothesis builds worlds full of colliding names, e-mails and serial numbers, some with matches from
before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bms_pipeline.core.entities import ASSETS, CLIENTS, CONTACTS, USERS, EntityName
from bms_pipeline.reconcile.decisions import Decision
from bms_pipeline.reconcile.matching import Scope
from bms_pipeline_tests.building import (
    CREATE_ALL,
    Decided,
    Row,
    World,
    account,
    asset,
    contact,
    employee,
    in_passportal,
    opened_world,
)
from bms_pipeline_tests.exploring import examples

NAMES = ("Ann Lee", "ANN  lee", "Lee, Ann", "Bob Ray", "bob ray", "Zoë Fox", "Zoe\u0308 Fox", " ")
EMAILS = (None, "a@x.example", "A@X.example", "b@x.example")
SERIALS = (None, "N/A", "SN-0001", "sn0001", "SN-0002", "SN-0003")
ENTITIES = (CLIENTS, USERS, CONTACTS, ASSETS)

_accounts = st.tuples(st.sampled_from(["One", "Two", "Three", "one", "Two Ltd"]), st.booleans())
_active = st.sampled_from([True, True, True, False])


@dataclass
class Records:
    """Both sides; ``matches`` are (entity, BMS id, Passportal id) from before."""

    accounts: list[Row] = field(default_factory=list)
    employees: list[Row] = field(default_factory=list)
    contacts: list[Row] = field(default_factory=list)
    assets: list[Row] = field(default_factory=list)
    passportal: dict[str, list[Row]] = field(default_factory=dict)
    matches: list[tuple[str, int, str]] = field(default_factory=list)
    excluded: list[tuple[EntityName, int]] = field(default_factory=list)
    create_unmatched: bool = False


@st.composite
def records(draw: st.DrawFn) -> Records:
    """Any records."""
    accounts = draw(st.lists(_accounts, min_size=1, max_size=4))
    account_ids = st.integers(1, len(accounts) + 1)
    clients = [in_passportal(f"C{n}", name) for n, (name, there) in enumerate(accounts, start=1) if there]
    clients += [
        in_passportal(f"D{n}", name) for n, name in enumerate(draw(st.lists(st.sampled_from(NAMES), max_size=1)))
    ]
    lie_in = st.sampled_from([each["passportal_id"] for each in clients] or ["C0"])
    person = st.tuples(account_ids, st.sampled_from(NAMES), st.sampled_from(EMAILS), _active)
    machine = st.tuples(account_ids, st.sampled_from(NAMES), st.sampled_from(SERIALS), _active)
    stored_person = st.tuples(lie_in, st.sampled_from(NAMES), st.sampled_from(EMAILS))
    stored_machine = st.tuples(lie_in, st.sampled_from(NAMES), st.sampled_from(SERIALS))

    found = Records(
        accounts=[account(n, name) for n, (name, _) in enumerate(accounts, start=1)],
        employees=[
            employee(n, *each.partition(" ")[::2])
            for n, each in enumerate(draw(st.lists(st.sampled_from(NAMES), max_size=4)), 1)
        ],
        contacts=[
            contact(n, where, *name.partition(" ")[::2], email) | {"isActive": active}
            for n, (where, name, email, active) in enumerate(draw(st.lists(person, max_size=9)), 1)
        ],
        assets=[
            asset(n, where, name, serial) | {"isActive": active}
            for n, (where, name, serial, active) in enumerate(draw(st.lists(machine, max_size=9)), 1)
        ],
        create_unmatched=draw(st.booleans()),
    )
    found.passportal = {
        "clients": clients,
        "users": [
            in_passportal(f"U{n}", each) for n, each in enumerate(draw(st.lists(st.sampled_from(NAMES), max_size=4)))
        ],
        "contacts": [
            in_passportal(f"P{n}", name, where, email=email)
            for n, (where, name, email) in enumerate(draw(st.lists(stored_person, max_size=9)))
        ],
        "assets": [
            in_passportal(f"A{n}", name, where, serial_number=serial)
            for n, (where, name, serial) in enumerate(draw(st.lists(stored_machine, max_size=9)))
        ],
    }
    for entity, rows in (("contacts", found.contacts), ("assets", found.assets)):
        ids = draw(st.permutations([each["passportal_id"] for each in found.passportal[entity]] + ["vanished"]))
        found.matches += [
            (entity, row["id"], to) for row, to in zip(rows, ids, strict=False) if draw(st.integers(0, 2)) == 0
        ]
        found.excluded += [(entity, row["id"]) for row in rows if draw(st.integers(0, 5)) == 0]
    return found


@st.composite
def the_same_with_others(draw: st.DrawFn) -> tuple[Records, Records]:
    """Any records, and the same in another order with some more that have nothing in common with them."""
    one = draw(records())
    turned = {
        each: draw(st.permutations(getattr(one, each))) for each in ("accounts", "employees", "contacts", "assets")
    }
    passportal = {name: draw(st.permutations(rows)) for name, rows in one.passportal.items()}
    if draw(st.booleans()):
        turned["accounts"] = [account(90, "Elsewhere"), account(91, "Somewhere"), *turned["accounts"]]
        turned["employees"] = [employee(90, "Una", "Other"), *turned["employees"]]
        turned["contacts"] = [
            contact(90, 90, "Una", "Other", "una@x.example"),
            contact(91, 91, "Una", "Other"),
            *turned["contacts"],
        ]
        turned["assets"] = [*turned["assets"], asset(90, 90, "Other", "SN-9090")]
        passportal["clients"] = [in_passportal("C90", "Elsewhere"), *passportal["clients"]]
        passportal["contacts"] = [*passportal["contacts"], in_passportal("P90", "Una Other", "C90")]
        passportal["assets"] = [in_passportal("A90", "Else", "C90", serial_number="SN9090"), *passportal["assets"]]
    other = Records(
        passportal=passportal,
        matches=one.matches,
        excluded=one.excluded,
        create_unmatched=one.create_unmatched,
        **turned,
    )
    return one, other


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A new folder for each world."""
    return (tmp_path_factory.mktemp("world") for _ in iter(int, 1))


def decide(home: Path, given_records: Records) -> dict[EntityName, dict[int, Decided]]:
    """Decide, and check what must hold whatever was decided."""
    with opened_world(home, entities=ENTITIES) as world:
        world.accounts, world.employees = given_records.accounts, given_records.employees
        world.contacts, world.assets = given_records.contacts, given_records.assets
        world.passportal_holds(**{name: rows for name, rows in given_records.passportal.items() if rows})
        for entity, bms_id, passportal_id in given_records.matches:
            world.query("INSERT INTO sync.matches VALUES (?, ?, ?, 'before', now())", entity, bms_id, passportal_id)
        if given_records.excluded:
            world.land()
            world.say(*(Decision("exclude", entity, bms_id) for entity, bms_id in given_records.excluded))
        world.reconcile(CREATE_ALL if given_records.create_unmatched else Scope())
        decided = {each.name: world.decisions(each.name) for each in ENTITIES}
        assert_one_decision_each(world)
    assert_one_to_one(decided, given_records)
    assert_inside_its_client(decided, given_records)
    return decided


def assert_one_decision_each(world: World) -> None:
    for each in ENTITIES:
        (read,) = world.query(f"SELECT count(*), count(DISTINCT bms_id) FROM bms.{each.name}")
        (found,) = world.query(f"SELECT count(*), count(DISTINCT bms_id) FROM sync.reconciled_{each.name}")
        assert found == read, each.name


def assert_one_to_one(decided: dict[EntityName, dict[int, Decided]], given_records: Records) -> None:
    for entity, found in decided.items():
        matched = {n: each.passportal_id for n, each in found.items() if each.disposition == "matched"}
        # A match that is not in force now (its record is out of scope, say) still takes its Passportal record.
        matched |= {n: to for of, n, to in given_records.matches if of == entity and n not in matched and n in found}
        moved = {n for n, each in found.items() if each.reason == "moved_to_this_client"}
        taken = [to for n, to in matched.items() if n not in moved]
        assert None not in taken
        assert len(taken) == len(set(taken)), entity
        assert all(each.passportal_id is None for each in found.values() if each.disposition != "matched")


def assert_inside_its_client(decided: dict[EntityName, dict[int, Decided]], given_records: Records) -> None:
    for entity, rows in (("contacts", given_records.contacts), ("assets", given_records.assets)):
        lies_in = {each["passportal_id"]: each["client_id"] for each in given_records.passportal[entity]}
        for row in rows:
            found = decided[entity][row["id"]]
            if found.disposition == "matched":
                client = decided["clients"][row["accountId"]]
                assert (client.disposition, client.passportal_id) == ("matched", lies_in[str(found.passportal_id)])


@examples(3, 100)
@given(the_same_with_others())
def test_neither_order_nor_unrelated_records_change_anybodys_decision(
    homes: Iterator[Path], worlds: tuple[Records, Records]
) -> None:
    one, other = (decide(next(homes), each) for each in worlds)
    for entity, found in one.items():
        assert {n: other[entity][n] for n in found} == found
