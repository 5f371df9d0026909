"""Details come after the record: they fill what is empty in Passportal, and overwrite nothing that was there before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from bms_pipeline.core.entities import ASSETS, CLIENTS
from bms_pipeline.core.errors import BreakerOpen
from bms_pipeline.sync import deciding
from bms_pipeline_tests.building import Operation, Row, World, account, asset, in_passportal, opened_world

NOT_THERE = "not there"
UNCHANGED = Operation("skip", "unchanged", {}, {})
EDIT = "UPDATE records SET details = map_concat(details, MAP {'Manufacturer': ?}) WHERE marker = ? AND type = 'asset'"


def completed(value: str) -> Operation:
    """Written into an empty field."""
    return Operation("update", "details_completed", {"manufacturer": (None, value)}, {})


def kept(bms: str, passportal: str) -> Operation:
    """Left as it is in Passportal."""
    return Operation("skip", "passportal_value_kept", {}, {"manufacturer": (bms, passportal)})


def changed(before: str, after: str) -> Operation:
    """BMS changed it, and so does Passportal."""
    return Operation("update", "bms_changed", {"manufacturer": (before, after)}, {})


class Case(NamedTuple):
    """One asset: its manufacturer in Passportal when it was adopted, and then; what the first reading gave.

    ``first``: what is planned after it; ``later``: after the second reading, which gave Lenovo.
    """

    adopted: str | None
    edited: str | None
    detail: Row | str
    first: Operation
    later: Operation


DELL = {"brand": "Dell"}
CASES = {
    "created": Case(NOT_THERE, None, DELL, completed("Dell"), changed("Dell", "Lenovo")),
    "adopted without one": Case(None, None, DELL, completed("Dell"), changed("Dell", "Lenovo")),
    "Passportal has another": Case("HP", "HP", DELL, kept("Dell", "HP"), changed("HP", "Lenovo")),
    "both have the same": Case("Dell", "Dell", DELL, UNCHANGED, changed("Dell", "Lenovo")),
    "a person emptied it before": Case("HP", "", DELL, completed("Dell"), changed("Dell", "Lenovo")),
    "a person entered one before": Case(None, "Acer", DELL, kept("Dell", "Acer"), changed("Acer", "Lenovo")),
    "BMS has none": Case("HP", "HP", {"brand": None}, UNCHANGED, changed("HP", "Lenovo")),
    "BMS has a blank": Case("HP", "HP", {"brand": "  "}, UNCHANGED, changed("HP", "Lenovo")),
    "neither has one": Case(None, None, {}, UNCHANGED, completed("Lenovo")),
    "it could not be read": Case("HP", "HP", "nested too deeply", UNCHANGED, kept("Lenovo", "HP")),
}
NUMBERED = dict(enumerate(CASES.items(), start=1))


@pytest.fixture(scope="module")
def adopted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """All cases loaded before any detail was read, and edited since."""
    with opened_world(tmp_path_factory.mktemp("details"), entities=(CLIENTS, ASSETS)) as world:
        world.accounts = [account(1, "Acme")]
        world.assets = [asset(n, 1, f"PC-{n}") for n in NUMBERED]
        there = [(n, case.adopted) for n, (_, case) in NUMBERED.items() if case.adopted != NOT_THERE]
        world.passportal_holds(
            clients=[in_passportal("C1", "Acme")],
            assets=[in_passportal(f"P{n}", f"PC-{n}", "C1", manufacturer=value) for n, value in there],
        )
        world.cycle()
        for n, (_, case) in NUMBERED.items():
            if case.edited is not None and case.edited != case.adopted:
                world.edit_passportal(EDIT, case.edited, str(n))
        yield world


@pytest.fixture(scope="module")
def first(adopted: World) -> dict[int, Operation]:
    """What is planned after the first reading."""
    adopted.answer_details({n: case.detail for n, (_, case) in NUMBERED.items()})
    adopted.plan()
    return adopted.operations("assets")


@pytest.fixture(scope="module")
def later(adopted: World, first: dict[int, Operation]) -> dict[int, Operation]:
    """What is planned after that was loaded and BMS changed all of them."""
    adopted.finish()
    assert adopted.plan().operations == 0
    adopted.answer_details({n: {"brand": "Lenovo"} for n in NUMBERED})
    adopted.plan()
    return adopted.operations("assets")


@pytest.mark.parametrize(("n", "case"), [pytest.param(n, case, id=name) for n, (name, case) in NUMBERED.items()])
def test_the_first_reading_only_fills_what_is_empty(first: dict[int, Operation], n: int, case: Case) -> None:
    assert first[n] == case.first


@pytest.mark.parametrize(("n", "case"), [pytest.param(n, case, id=name) for n, (name, case) in NUMBERED.items()])
def test_from_then_on_bms_goes_ahead_as_with_any_field(later: dict[int, Operation], n: int, case: Case) -> None:
    assert later[n] == case.later


# What takes a world of its own


@pytest.fixture(scope="module")
def unread(tmp_path_factory: pytest.TempPathFactory) -> World:
    """One asset, adopted with a manufacturer and without a model, before its details were read."""
    with opened_world(tmp_path_factory.mktemp("unread"), entities=(CLIENTS, ASSETS)) as world:
        world.accounts, world.assets = [account(1, "Acme")], [asset(1, 1, "PC-1")]
        world.passportal_holds(
            clients=[in_passportal("C1", "Acme")], assets=[in_passportal("P1", "PC-1", "C1", manufacturer="HP")]
        )
        world.cycle()
    return world


@pytest.fixture
def world(unread: World, tmp_path: Path) -> Iterator[World]:
    with opened_world(tmp_path / "home", like=unread) as world:
        yield world


def test_ownership_means_for_details_what_it_means_for_all_fields(world: World) -> None:
    world.set("ownership", {"assets.manufacturer": "bms_wins", "assets.model": "passportal_wins"})
    world.answer_details({1: {"brand": "Dell", "modelNumber": "X1"}})
    world.plan()
    assert world.operations("assets")[1] == Operation(
        "update", "field_ownership", {"manufacturer": ("HP", "Dell")}, {"model": ("X1", None)}
    )


def test_an_update_of_another_field_before_the_details_are_read_settles_nothing_about_them(world: World) -> None:
    world.assets = [asset(1, 1, "PC-1", ipAddress="10.0.0.1")]
    assert world.cycle()["assets"]["updated"] == 1
    world.answer_details({1: {"brand": "Dell", "modelNumber": "X1"}})
    world.plan()
    found = world.operations("assets")[1]
    assert (found.changes, found.kept) == ({"model": (None, "X1")}, {"manufacturer": ("Dell", "HP")})


@pytest.mark.soak
def test_a_completed_detail_can_be_taken_back_and_is_not_written_again(world: World) -> None:
    world.answer_details({1: {"modelNumber": "X1"}})
    world.cycle()
    deciding.plan_undo(world.warehouse, world.query("SELECT max(plan_id) FROM sync.plans")[0][0])
    world.finish()
    assert "Model" not in next(each.details for each in world.content() if each.type == "asset")
    assert world.plan().operations == 0
    world.answer_details({1: {"modelNumber": "X2"}})
    world.plan()
    assert world.operations("assets")[1].changes == {"model": (None, "X2")}


def test_completing_all_records_opens_no_breaker_and_changing_them_does(world: World) -> None:
    world.assets = [asset(n, 1, f"PC-{n}") for n in range(1, 21)]
    world.cycle()
    world.set("initial_sync_finished_at", "2026-01-01 00:00:00")
    world.answer_details({n: {"modelNumber": "X1"} for n in range(1, 21)})
    world.plan()
    assert world.load()["assets"]["updated"] == 20
    world.answer_details({n: {"modelNumber": "X2"} for n in range(1, 21)})
    world.plan()
    with pytest.raises(BreakerOpen, match="update 20 of 20 matched assets"):
        world.load()
