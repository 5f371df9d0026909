"""What BMS does not send changes nothing in Passportal: a whole sync before and after its answers changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bms_pipeline.core.errors import LandingError
from bms_pipeline.reports import figures
from bms_pipeline_tests.building import CREATE_ALL, Row, World, account, asset, contact, opened_world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with opened_world(tmp_path / "home") as world:
        yield world


def spelt(value: object, how: str) -> object:
    """The same with its keys in PascalCase or lower case."""
    if isinstance(value, dict):
        return {
            (key.lower() if how == "lower" else key[0].upper() + key[1:]): spelt(v, how) for key, v in value.items()
        }
    return [spelt(inner, how) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("how", ["lower", "Pascal"])
def test_records_in_another_spelling_are_the_same_records(world: World, how: str) -> None:
    rows: list[Row] = [account(1, "Alpha")]
    world.accounts, world.contacts = rows, [contact(1, 1, "Ann", "Lee", "ann@a.example")]
    world.cycle()
    world.accounts = [spelt(row, how) for row in world.accounts]  # type: ignore[misc]
    world.contacts = [spelt(row, how) for row in world.contacts]  # type: ignore[misc]
    assert world.plan(CREATE_ALL).operations == 0


def test_contacts_whose_activity_is_unknown_are_not_created(world: World) -> None:
    world.accounts, world.contacts = [account(1, "Alpha")], [contact(1, 1, "Ann", "Lee")]
    world.cycle()
    before = world.content()
    world.contacts = [*world.contacts, contact(2, 1, "Bob", "Ray", isActive=False)]
    for row in world.contacts:
        row["active"] = row.pop("isActive")
    with pytest.raises(LandingError, match="contacts: none of 2 records has the field isActive"):
        world.plan()
    assert world.content() == before


def test_a_field_that_is_not_sent_is_reported_once_and_blanks_nothing(world: World) -> None:
    world.accounts, world.assets = [account(1, "Alpha")], [asset(1, 1, "PC", "SN-4711")]
    world.cycle()
    for row in world.assets:
        del row["serialNumber"]
    assert world.plan().operations == 0
    assert world.query("SELECT serial_number FROM bms.assets") == [("SN-4711",)]
    (warning,) = [each for each in figures.status(world.settings, world.warehouse).warnings if "serial" in each]
    assert warning.startswith("assets: BMS does not send ")
