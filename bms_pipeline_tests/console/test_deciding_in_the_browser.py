"""Deciding by keyboard in a real browser: the list renews itself in place, and the focus goes on to the next record."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from bms_pipeline.console.context import Console
from bms_pipeline.reconcile.decisions import Decision
from bms_pipeline.sync import deciding
from bms_pipeline_tests.building import World, account, in_passportal, opened_world
from bms_pipeline_tests.chromium import SENT, chromium
from bms_pipeline_tests.console.serving import served
from bms_pipeline_tests.console.test_pages_in_the_browser import entered

FOCUSED = "document.activeElement.closest('[data-item]')?.dataset.item ?? document.activeElement.tagName"
RING = "parseFloat(getComputedStyle(document.activeElement).outlineWidth) >= 2"
HELD = "key => document.dispatchEvent(new KeyboardEvent('keydown', {key, repeat: true, bubbles: true}))"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Clients: two nearly as in Passportal, one that fits two records there, and four that fit nothing."""
    with opened_world(tmp_path / "home") as found:
        found.accounts = [
            account(1, "Alpha Inc"), account(2, "Beta Inc"), account(3, "Gamma"),
            *(account(n, name) for n, name in enumerate(("Lone Wolf", "Quiet Mouse", "Red Fox", "Young Owl"), 4)),
        ]  # fmt: skip
        found.passportal_holds(
            clients=[
                in_passportal("P1", "Alpha, Inc."), in_passportal("P2", "Beta, Inc."),
                in_passportal("P3", "Gamma"), in_passportal("P4", "Gamma"),
            ]
        )  # fmt: skip
        found.plan()
        found.let_go_of_the_warehouse()
        yield found


@pytest.fixture
def console(world: World) -> Iterator[Console]:
    with served(world.settings) as found:
        yield found


@pytest.fixture
def page(browser: Browser, console: Console) -> Iterator[Page]:
    with browser.new_context(viewport={"width": 1400, "height": 900}) as context:
        found = entered(context, console)
        problems: list[str] = []
        found.on("pageerror", lambda error: problems.append(str(error)))
        found.goto(f"{console.origin}/review/clients?disposition=unmatched")
        yield found
        assert problems == []


def settled(page: Page) -> Page:
    """The page, when every decision is answered."""
    page.locator(SENT).first.wait_for(state="detached")
    return page


def press(page: Page, *keys: str) -> None:
    """Press these keys, one after another."""
    for key in keys:
        page.keyboard.press(key)


def focused(page: Page) -> str:
    """The record in focus, or the element."""
    return str(page.evaluate(FOCUSED))


def test_match_create_exclude_and_undo_by_one_key_each_without_leaving_the_page(page: Page, world: World) -> None:
    loads: list[str] = []
    page.on("request", lambda request: loads.append(request.url) if request.is_navigation_request() else None)
    press(page, "j")
    assert focused(page) == "1"
    assert page.evaluate(RING)
    press(page, "m")
    assert focused(page) == "2", "the next record has the focus before the answer has come"
    press(page, "m", "c", "x")
    settled(page)
    assert loads == []
    assert world.lasting()["matches"] == [("clients", 1, "P1"), ("clients", 2, "P2")]
    assert world.lasting()["approved_creates"] == [("clients", 4, False)]
    assert world.lasting()["exclusions"] == [("clients", 5)]
    assert focused(page) == "6"
    assert "Excluded Quiet Mouse." in page.inner_text(".news")
    press(page, "u")
    settled(page)
    assert world.lasting()["exclusions"] == []
    assert "Undone: Excluded Quiet Mouse." in page.inner_text("#heard") or "Undone" in page.inner_text(".news")


def test_the_message_is_heard_and_the_undo_button_names_what_it_undoes(page: Page) -> None:
    press(page, "j", "m")
    settled(page)
    assert page.locator("#heard[role=status]").text_content() == "Matched Alpha Inc with Alpha, Inc. (P1)."
    page.get_by_role("button", name="Undo Matched Alpha Inc").click()
    settled(page)
    assert "Undone: Matched Alpha Inc" in page.inner_text(".news")


def test_after_the_last_record_the_focus_goes_to_the_heading(page: Page) -> None:
    press(page, "j")
    for _ in range(6):
        press(page, "x")
    settled(page)
    assert focused(page) == "H1"
    assert "No record matches this filter." in page.inner_text("#list")


def test_a_key_that_is_held_or_has_a_modifier_or_is_typed_decides_nothing(page: Page, world: World) -> None:
    press(page, "j")
    page.evaluate(HELD, "x")
    press(page, "Control+x", "Alt+x", "Meta+x")
    press(page, "/")
    assert page.evaluate("document.activeElement.id") == "q"
    page.keyboard.type("mcxujk?")
    assert page.input_value("#q") == "mcxujk?"
    assert not page.locator("dialog[open]").count()
    assert world.query("SELECT count(*) FROM sync.decisions") == [(0,)]


def test_the_sheet_of_keys_opens_and_closes_and_keys_decide_nothing_meanwhile(page: Page, world: World) -> None:
    press(page, "j", "?")
    assert "next record" in page.inner_text("dialog[open]")
    press(page, "x", "Escape")
    assert not page.locator("dialog[open]").count()
    assert focused(page) == "1"
    assert world.query("SELECT count(*) FROM sync.decisions") == [(0,)]


def test_create_next_to_a_look_alike_asks_once(page: Page, world: World) -> None:
    press(page, "j", "c")
    assert "Passportal has a record of nearly the same name. Create Alpha Inc as well?" in page.inner_text(".ask")
    assert world.lasting()["approved_creates"] == []
    press(page, "c")
    settled(page)
    assert world.lasting()["approved_creates"] == [("clients", 1, True)]


def test_match_where_the_best_is_not_the_only_one_asks_once(page: Page, console: Console, world: World) -> None:
    page.goto(f"{console.origin}/review/clients?disposition=ambiguous")
    press(page, "j", "m")
    assert "2 records of Passportal fit about equally. Match Gamma with Gamma P3?" in page.inner_text(".ask")
    press(page, "Escape")
    assert not page.locator(".ask").count()
    press(page, "m", "m")
    settled(page)
    assert world.lasting()["matches"] == [("clients", 3, "P3")]


def test_the_other_candidates_open_in_place_and_match_from_there(page: Page, console: Console, world: World) -> None:
    page.goto(f"{console.origin}/review/clients?disposition=ambiguous")
    press(page, "j", "o")
    page.locator(".in-place .suggestions li").nth(1).wait_for()
    page.locator(".in-place").get_by_role("button", name="Match with Gamma P4").click()
    settled(page)
    assert page.url.endswith("disposition=ambiguous")
    assert world.lasting()["matches"] == [("clients", 3, "P4")]


def test_a_record_that_somebody_decided_meanwhile_is_left_and_the_message_says_who(page: Page, world: World) -> None:
    deciding.decide(world.warehouse, [Decision("exclude", "clients", 1)], "Casey")
    press(page, "j", "m", "m")
    settled(page)
    assert "exclude by Casey" in page.inner_text(".news .refused")
    assert world.lasting()["matches"] == [("clients", 2, "P2")]


def test_twins_are_decided_about_by_key(browser: Browser, tmp_path: Path) -> None:
    with opened_world(tmp_path / "twins") as world:
        world.accounts = [account(1, "Salinas"), account(2, "Salinas"), account(3, "Tonda"), account(4, "Tonda")]
        world.passportal_holds(clients=[in_passportal("P1", "Salinas")])
        world.plan()
        world.let_go_of_the_warehouse()
        with served(world.settings) as console, browser.new_context() as context:
            page = entered(context, console)
            page.goto(f"{console.origin}/review/clients/twins")
            press(page, "j", "m")
            assert "Nothing tells these apart." in page.inner_text(".ask")
            press(page, "m")
            settled(page)
            assert focused(page) == "3"
            press(page, "c", "c")
            settled(page)
            assert focused(page) == "H1"
        assert world.lasting()["matches"] == [("clients", 1, "P1")]
        assert world.lasting()["exclusions"] == [("clients", 2)]
        assert world.lasting()["approved_creates"] == [("clients", 3, True), ("clients", 4, True)]


def test_a_question_is_answered_only_by_the_button_that_asked_it(browser: Browser, tmp_path: Path) -> None:
    with opened_world(tmp_path / "twins") as world:
        world.accounts = [account(1, "Salinas"), account(2, "Salinas")]
        world.passportal_holds(clients=[in_passportal("P1", "Salinas"), in_passportal("P2", "Salinas")])
        world.plan()
        world.let_go_of_the_warehouse()
        with served(world.settings) as console, browser.new_context() as context:
            page = entered(context, console)
            page.goto(f"{console.origin}/review/clients/twins")
            asking = page.locator("button[data-ask]:not([data-ask=''])")
            assert asking.count() > 2
            for at in range(asking.count()):
                asking.nth(at).click()
                question = asking.nth(at).get_attribute("data-ask")
                assert question
                assert question in page.inner_text(".ask")
            assert "Press again" not in page.inner_text(".ask")
        assert (world.lasting()["matches"], world.lasting()["exclusions"]) == ([], [])
