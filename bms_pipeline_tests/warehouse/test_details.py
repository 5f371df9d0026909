"""Details in the warehouse: who wants theirs and in which order, and what landing them changes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from bms_pipeline.bms.asset_detail import details_folder, unlanded
from bms_pipeline.core.entities import ASSETS, ASSETS_LIST, CLIENTS
from bms_pipeline.sync import enrichment, planning
from bms_pipeline.warehouse import landed_details as stored
from bms_pipeline.warehouse.connection import now
from bms_pipeline.warehouse.facts import Fact, add_facts
from bms_pipeline.warehouse.landed_details import LandedDetails
from bms_pipeline_tests.building import World, account, asset, opened_world


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Six assets in Passportal, none of which has its details."""
    with opened_world(tmp_path_factory.mktemp("queue"), entities=(CLIENTS, ASSETS)) as world:
        world.accounts = [account(1, "Acme"), account(2, "Not in Passportal")]
        world.assets = [asset(n, 1, f"PC-{n}") for n in range(1, 7)] + [asset(9, 2, "Blocked")]
        world.plan()
        world.create("clients", 1)
        world.plan()
        world.finish()
        world.set("initial_sync_finished_at", "2026-01-01 00:00:00")
    return world


@pytest.fixture
def world(loaded: World, tmp_path: Path) -> Iterator[World]:
    with opened_world(tmp_path / "home", like=loaded) as world:
        yield world


def waiting(world: World) -> list[int]:
    known = enrichment.unlanded_ids(world.settings, ASSETS)
    with world.warehouse.open() as connection:
        return enrichment.waiting_details(connection, ASSETS, known)


def land(world: World) -> LandedDetails:
    return enrichment.land_details(world.settings, world.warehouse, ASSETS_LIST)


def aged(world: World, bms_id: int, age: timedelta) -> None:
    """As if the details of a record had been asked for long ago."""
    world.query("UPDATE bms.assets SET details_asked_at = details_asked_at - ? WHERE bms_id = ?", age, bms_id)


def test_what_is_in_passportal_waits_and_nothing_else(world: World) -> None:
    assert waiting(world) == [1, 2, 3, 4, 5, 6]


def test_nothing_waits_before_the_initial_sync_is_finished(world: World) -> None:
    world.set("initial_sync_finished_at", None)
    assert waiting(world) == []


def test_never_read_comes_first_then_changed_then_old_then_never_mind(world: World) -> None:
    world.answer_details({n: {"brand": "Dell"} for n in range(1, 6)})
    assert waiting(world) == [6], "what waits for its landing is not asked again"
    land(world)
    assert waiting(world) == [6]
    aged(world, 2, timedelta(days=31))
    aged(world, 1, timedelta(days=40))
    world.assets[2] = asset(3, 1, "PC-3", ipAddress="10.0.0.3")
    world.land()
    assert waiting(world) == [6, 3, 1, 2]
    world.set("details_max_age_days", 60)
    assert waiting(world) == [6, 3]


def test_a_problem_is_tried_again_after_a_day_or_when_the_row_changed(world: World) -> None:
    world.answer_details(dict.fromkeys(range(1, 7), "it is gone"))
    land(world)
    assert waiting(world) == []
    aged(world, 4, timedelta(days=1))
    assert waiting(world) == [4]


def test_what_is_gone_or_excluded_waits_no_more(world: World) -> None:
    del world.assets[0]
    world.reconcile()
    world.exclude("assets", 2)
    assert waiting(world) == [3, 4, 5, 6]


def test_landing_keeps_the_newest_answer_and_again_changes_nothing(world: World) -> None:
    before = dict(world.query("SELECT name, version FROM sync.input_versions"))["bms.assets"]
    for brand in ("Dell", " HP "):
        world.answer_details({1: {"brand": brand}})
        folder = details_folder(world.settings.landing_folder, ASSETS)
        next(folder.glob("read.1.*")).rename(folder / f"{brand.strip()}.1.ndjson.zst")
    copies = {each.name: each.read_bytes() for each in folder.iterdir()}
    assert land(world) == LandedDetails(read=1, problems=0, changed=1, dropped=0)
    assert world.query("SELECT manufacturer FROM bms.assets WHERE bms_id = 1") == [("HP",)]
    assert unlanded(folder) == 0
    for name, content in copies.items():  # a kill after the commit left them there
        (folder / name).write_bytes(content)
    assert land(world) == LandedDetails(read=0, problems=0, changed=0, dropped=1)
    assert dict(world.query("SELECT name, version FROM sync.input_versions"))["bms.assets"] == before + 1


def test_a_problem_takes_nothing_away(world: World) -> None:
    world.answer_details({1: {"brand": "Dell"}, 77: {"brand": "of nobody"}})
    assert land(world) == LandedDetails(read=1, problems=0, changed=1, dropped=1)
    world.answer_details({1: "nested too deeply"})
    assert land(world) == LandedDetails(read=0, problems=1, changed=0, dropped=0)
    found = world.query("SELECT manufacturer, details_problem, details_asked_at > details_read_at FROM bms.assets")
    assert found[0] == ("Dell", "nested too deeply", True)
    with world.warehouse.open() as connection:
        state = stored.answers_state(connection, ASSETS)
    assert (state["wanted"], state["read"], state["problems"]) == (6, 1, 1)
    assert now() - state["oldest_read_at"] < timedelta(minutes=5)


def test_dates_land_as_days_and_the_zero_date_as_none(world: World) -> None:
    dates = {"acquisitionDate": "2024-02-29T00:00:00", "warrantyExpirationDate": "0001-01-01T00:00:00"}
    world.answer_details({1: dates, 2: {"acquisitionDate": "last spring"}})
    land(world)
    found = world.query("SELECT purchase_date, expiration_date FROM bms.assets WHERE bms_id < 3 ORDER BY bms_id")
    assert found == [("2024-02-29", None), ("last spring", None)]


def test_a_changed_row_keeps_its_details(world: World) -> None:
    world.answer_details({1: {"modelNumber": "X1"}})
    land(world)
    world.assets[0] = asset(1, 1, "PC-1", ipAddress="10.0.0.1")
    world.land()
    found = world.query("SELECT model, primary_ip, changed_at > details_read_at FROM bms.assets WHERE bms_id < 3")
    assert set(found) == {("X1", "10.0.0.1", True), (None, None, None)}


def test_hostile_text_lands_as_it_is(world: World) -> None:
    odd = "'\"\x01\u202e<b>\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16")
    world.answer_details({1: {"brand": odd}})
    land(world)
    assert world.query("SELECT manufacturer FROM bms.assets WHERE bms_id = 1") == [(odd,)]


def test_a_plan_that_waits_does_not_move_while_details_are_read(world: World) -> None:
    plan = world.plan()
    world.answer_details({1: {"brand": "Dell"}})
    assert not planning.current_plan(world.warehouse).stale
    land(world)
    assert planning.current_plan(world.warehouse).stale
    assert planning.current_plan(world.warehouse).plan_id == plan.plan_id


@pytest.mark.parametrize(
    ("waiting", "left", "said"),
    [
        (0, 9, "nothing waits"),
        (9, 9, "within this hour"),
        (31_500, 0, "about 21 h at 1,500 calls an hour"),
        (50_000, 1500, "about 33 h at 1,500 calls an hour"),
    ],
)
def test_the_estimate_is_what_the_limit_allows(waiting: int, left: int, said: str) -> None:
    assert enrichment.estimate(waiting, left, 1500) == said


def test_a_date_near_midnight_is_the_day_in_the_tenants_zone(world: World) -> None:
    with world.warehouse.transaction() as connection:
        add_facts(connection, [Fact("BMS-ZONE", "Europe/Vienna", "the user's page", now())])
    world.answer_details({1: {"acquisitionDate": "2026-03-31T22:00:00Z"}})
    world.land()
    assert world.query("SELECT purchase_date FROM bms.assets WHERE bms_id = 1") == [("2026-04-01",)]
