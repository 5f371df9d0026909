"""Consoles on hand-made worlds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bms_pipeline.console.context import Console
from bms_pipeline_tests.building import World, account, contact, employee, in_passportal, opened_world
from bms_pipeline_tests.console.serving import Person, served


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Three users and four clients, read and planned: what matches, what waits, and what is ambiguous."""
    with opened_world(tmp_path_factory.mktemp("prepared") / "home") as found:
        found.employees = [employee(1, "Ada", "Lovelace"), employee(2, "Bo", "Diddley"), employee(3, "Cy", "Twombly")]
        found.accounts = [
            account(10, "Acme Ltd"),
            account(11, "Borealis"),
            account(12, "Twins"),
            account(13, "Zenith Corp"),
        ]
        found.contacts = [contact(100, 10, "Dee", "Dee", "dee@acme.example"), contact(101, 11, "Eve", "Moore")]
        found.passportal_holds(
            clients=[
                in_passportal("P1", "ACME LTD"),
                in_passportal("P2", "Twins"),
                in_passportal("P3", "Twins"),
                in_passportal("P4", "Zenith Corporation"),
                in_passportal("P5", "Somebody Else"),
            ],
            users=[in_passportal("U1", "Ada Lovelace", first_name="Ada", last_name="Lovelace")],
        )
        found.plan()
    return found


@pytest.fixture
def world(prepared: World, tmp_path: Path) -> Iterator[World]:
    """A home of the test's own that goes on from there."""
    with opened_world(tmp_path / "home", like=prepared) as found:
        found.let_go_of_the_warehouse()
        yield found


@pytest.fixture
def console(world: World) -> Iterator[Console]:
    """A console on it."""
    with served(world.settings) as found:
        yield found


@pytest.fixture
def alex(console: Console) -> Person:
    """Somebody in front of it."""
    return Person(console, "Alex")
