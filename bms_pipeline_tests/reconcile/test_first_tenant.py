"""What a first tenant brings: documents that the key may not read, and notes that hold passwords."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bms_pipeline.core.entities import ASSETS, CLIENTS
from bms_pipeline.reconcile.matching import Scope
from bms_pipeline.reports.plan_preview import overview, write_html
from bms_pipeline.sync import planning
from bms_pipeline_tests.building import World, account, asset, in_passportal, opened_world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with opened_world(tmp_path / "home", entities=(CLIENTS, ASSETS)) as world:
        world.accounts = [account(1, "Acme")]
        world.assets = [asset(1, 1, "PC-1", "SN100"), asset(2, 1, "PC-2", "SN200")]
        world.passportal_holds(
            clients=[in_passportal("C", "Acme")],
            assets=[in_passportal("a", "PC-1", "C"), in_passportal("b", "PC-2", "C")],
        )
        yield world


def plan_without_reading(world: World, *passportal_ids: str) -> None:
    """A plan where the key may not read these documents: their rows are listed without any place."""
    world.reconcile()
    with world.warehouse.transaction() as connection:
        connection.execute(
            "UPDATE passportal.assets SET places = [], template = 'Workstation' WHERE list_contains(?, passportal_id)",
            [list(passportal_ids)],
        )
        connection.execute("DELETE FROM sync.made_from")
    world.decide()
    planning.make_plan(world.warehouse, world.synced, Scope())


def test_a_document_that_the_key_may_not_read_is_neither_filled_nor_linked_nor_created_again(world: World) -> None:
    plan_without_reading(world, "a")
    found = world.operations("assets")
    assert (found[1].operation, found[1].reason, found[1].changes) == ("skip", "document_unreadable", {})
    assert found[2].operation == "adopt"
    assert overview(world.warehouse).no_place == [], "nothing lacks a field: the key lacks the right"


def test_a_linked_document_that_the_key_may_not_read_any_more_is_left_alone(world: World) -> None:
    world.cycle()
    world.assets[0]["ipAddress"] = "10.0.0.1"
    plan_without_reading(world, "a", "b")
    assert {found.operation for found in world.operations("assets").values()} == {"skip"}
    world.reconcile()
    world.edit_passportal("UPDATE records SET last_modified = '2027-01-01T00:00:00Z'")
    assert world.cycle()["assets"]["updated"] == 1, "as soon as it may be read"


PASSWORDS = ("Password: hunter2", "admin pw = x", "Kennwort ist geheim", "ftp://joe:pass@host/", "PIN: 1234")
HARMLESS = ("Ask IT for the password", "pwdless", "http://host/path", "pinned to the wall", None)


def test_notes_that_look_like_passwords_are_counted_and_never_shown(world: World, tmp_path: Path) -> None:
    texts = [*PASSWORDS, *HARMLESS]
    world.assets = [asset(n, 1, f"PC-{n}") for n in range(1, len(texts) + 1)]
    world.plan()
    world.answer_details({n: {"description": text} for n, text in enumerate(texts, start=1)})
    world.plan()
    counted = [text for text in overview(world.warehouse).warnings if "password" in text]
    assert [text.partition(" notes of assets")[0] for text in counted] == [str(len(PASSWORDS))]
    page = tmp_path / "plan.html"
    write_html(world.warehouse, page, most_records=0)
    assert "look as if they held a password" in page.read_text(encoding="utf-8")
    assert "hunter2" not in "".join(counted)
