"""Running it again: the second sync plans nothing, whatever was there and whatever was edited in between (rule 1).

Hypothesis builds worlds and the edits between two syncs of each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bms_pipeline.core.entities import ASSETS, CLIENTS, CONTACTS, ENTITIES
from bms_pipeline_tests.building import (
    CREATE_ALL,
    Row,
    World,
    account,
    asset,
    contact,
    employee,
    in_passportal,
    location,
    opened_world,
)
from bms_pipeline_tests.exploring import examples

NAMES = ("Ann Lee", "ANN  lee", "Lee, Ann", "Bob Ray", "Cat Fox", "Zoë Orr")
EMAILS = (None, "a@x.example", "b@x.example")
SERIALS = (None, "N/A", "SN-0001", "SN-0002", "SN-0003")

Edit = Callable[[World], None]


def assert_no_marker_twice(world: World) -> None:
    """No BMS record is in one client of Passportal twice."""
    with_ids = world.query(
        "SELECT 'contacts', client_id, bms_id FROM passportal.contacts UNION ALL"
        " SELECT 'assets', client_id, bms_id FROM passportal.assets UNION ALL"
        " SELECT 'clients', client_id, bms_id FROM passportal.clients"
    )
    twice = {each: n for each, n in Counter(each for each in with_ids if each[2] is not None).items() if n > 1}
    assert not twice


# By hand


def test_the_second_sync_plans_nothing_and_touches_nothing(world: World) -> None:
    world.accounts = [
        account(1, "Acme", location(1, "HQ", addresses=[{"city": "Leeds", "isMain": True}]), location(2, "HQ")),
        account(2, "New", location(3, "Depot")), account(3, "Off") | {"isActive": False}, account(4, None),
    ]  # fmt: skip
    world.employees = [employee(1, "Ann", "Lee"), employee(2, "Ann", "Lee"), employee(3, " ", None)]
    world.contacts = [contact(n, n % 5, "Ann", "Lee", f"{n % 2}@a.example") for n in range(1, 9)]
    world.assets = [asset(1, 1, "PC", "SN-0001"), asset(2, 1, "PC", "SN-0001"), asset(3, 2, "", "SN-0003")]
    world.passportal_holds(
        clients=[in_passportal("C1", "ACME ", phone=" 5 ")],
        users=[in_passportal("U1", "ann lee")],
        contacts=[in_passportal("P1", "Ann Lee", "C1", email="1@A.example"), in_passportal("P2", "Ann Lee", "C1")],
        assets=[in_passportal("A1", "x", "C1", serial_number="sn0001")],
    )
    first = world.cycle()
    assert sum(each["created"] + each["adopted"] for each in first.values()) > 5
    before, journal = world.content(), world.query("SELECT count(*) FROM sync.journal")
    again = world.plan(CREATE_ALL)
    assert again.operations == 0
    counts = world.load()
    for entity in ENTITIES:
        assert counts[entity.name]["read"] == first[entity.name]["read"]
        assert not sum(counts[entity.name][each] for each in ("created", "adopted", "updated", "failed", "pending"))
    assert world.content() == before
    assert world.query("SELECT count(*) FROM sync.journal") == journal
    assert_no_marker_twice(world)


def test_a_sync_of_nothing_does_nothing(world: World) -> None:
    assert {sum(each.values()) for each in world.cycle().values()} <= {0}
    assert world.content() == []


# By chance


@st.composite
def worlds(draw: st.DrawFn) -> Callable[[World], None]:
    """Fills a world."""
    names, where = st.sampled_from(NAMES), st.integers(1, 3)
    people = draw(st.lists(st.tuples(where, names, st.sampled_from(EMAILS)), min_size=3, max_size=9))
    machines = draw(st.lists(st.tuples(where, names, st.sampled_from(SERIALS)), min_size=2, max_size=7))
    there = draw(st.lists(st.tuples(st.integers(1, 2), names, st.sampled_from(EMAILS)), max_size=6))
    things = draw(st.lists(st.tuples(st.integers(1, 2), names, st.sampled_from(SERIALS)), max_size=6))

    def fill(world: World) -> None:
        world.accounts = [account(1, "One"), account(2, "Two"), account(3, "Three")]
        world.contacts = [_person(n, *each) for n, each in enumerate(people, 1)]
        world.assets = [asset(n, *each) for n, each in enumerate(machines, 1)]
        world.passportal_holds(
            clients=[in_passportal("C1", "one"), in_passportal("C2", "Two")],
            contacts=[in_passportal(f"P{n}", name, f"C{c}", email=email) for n, (c, name, email) in enumerate(there)],
            assets=[in_passportal(f"A{n}", name, f"C{c}", serial_number=s) for n, (c, name, s) in enumerate(things)],
        )

    return fill


@st.composite
def edits(draw: st.DrawFn) -> Edit:
    """Some things that people do between two syncs, in BMS and in Passportal."""
    changed = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["contacts", "assets"]),
                st.integers(0, 8),
                st.sampled_from(["rename", "move", "remove", "key", "deactivate", "add", "retitle"]),
                st.sampled_from(NAMES),
                st.integers(1, 3),
            ),
            min_size=1,
            max_size=10,
        )
    )
    renamed = draw(st.sampled_from(["One", "Two", "Uno"]))

    def edit(world: World) -> None:
        world.accounts[0]["accountName"] = renamed
        for entity, position, what, name, number in changed:
            rows: list[Row] = getattr(world, entity)
            if what == "retitle":
                world.edit_passportal(
                    "UPDATE records SET title = ? WHERE marker = ? AND type <> 'client'", name, str(position)
                )
            elif what == "add" or not rows:
                number_of = max((each["id"] for each in rows), default=0) + 1
                new = _person(number_of, number, name, None) if entity == "contacts" else asset(number_of, number, name)
                rows.append(new)
            else:
                _edit(rows, rows[position % len(rows)], what, name, number)

    return edit


def _person(bms_id: int, account_id: int, name: str, email: str | None) -> Row:
    first, _, last = name.partition(" ")
    return contact(bms_id, account_id, first, last, email)


def _edit(rows: list[Row], row: Row, what: str, name: str, number: int) -> None:
    """Change one record of BMS."""
    if what == "remove":
        rows.remove(row)
    elif what == "move":
        row["accountId"] = number
    elif what == "deactivate":
        row["isActive"] = not row["isActive"]
    elif "assetName" in row:
        row |= {"assetName": name} if what == "rename" else {"serialNumber": SERIALS[number]}
    elif what == "rename":
        row["firstName"], _, row["lastName"] = name.partition(" ")
    else:
        row["emails"] = [{"id": 1, "emailAddress": f"{number}@x.example", "isDefault": True}]


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A new folder for each world."""
    return (tmp_path_factory.mktemp("again") for _ in iter(int, 1))


@examples(2, 60)
@given(worlds(), edits())
def test_whatever_was_edited_one_sync_settles_it(homes: Iterator[Path], fill: Edit, edit_later: Edit) -> None:
    with opened_world(next(homes), entities=(CLIENTS, CONTACTS, ASSETS)) as world:
        for edit in (fill, edit_later):
            edit(world)
            counts = world.cycle()
            assert not any(each["failed"] or each["pending"] for each in counts.values())
            assert world.plan(CREATE_ALL).operations == 0
            assert_no_marker_twice(world)
