"""Every page in a real browser: it fits a phone and a desk, is accessible, and asks for nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Dialog, Page

from bms_pipeline.console import read_replica
from bms_pipeline.console.context import Console
from bms_pipeline.sync import planning, run_lock
from bms_pipeline_tests.building import World, account, contact, in_passportal, opened_world
from bms_pipeline_tests.chromium import Mouse, chromium
from bms_pipeline_tests.console.serving import Person, served
from bms_pipeline_tests.console.test_hostile_names import HOSTILE

PAGES = (
    "/", "/setup", "/setup/examination", "/review/users", "/review/clients", "/review/clients?disposition=excluded",
    "/review/clients?q=e&all=1", "/review/clients/twins", "/review/clients/accept", "/review/users/create-unmatched",
    "/review/users/confirm?verb=exclude&disposition=unmatched", "/review/contacts/101/match", "/review/locations",
    "/review/contacts", "/review/assets", "/review/clients?q=nobody", "/review/clients/13/match",
    "/review/clients/12/match?q=twins", "/records/clients/10", "/records/contacts/100", "/preview", "/preview/records",
    "/runs", "/runs?then=/preview", "/orphans", "/inactive", "/refused", "/hand-overs", "/duplicates",
    "/duplicates/names", "/name", "/nothing",
)  # fmt: skip
PHONE, DESK = 400, 1400
TOO_WIDE = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
HEARD = "document.addEventListener('securitypolicyviolation', e => console.error('refused', e.violatedDirective))"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def world(prepared: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A contact is gone from BMS, a client waits for its import, another is excluded."""
    with opened_world(tmp_path_factory.mktemp("looked_at") / "home", like=prepared) as found:
        found.exclude("clients", 11)
        found.plan()
        with found.warehouse.transaction() as connection:
            connection.execute(
                "UPDATE bms.contacts SET missing_since = now() - INTERVAL 3 DAY;"
                "INSERT INTO sync.matches BY NAME SELECT 'contacts' AS entity, 100 AS bms_id, 'C1' AS passportal_id;"
                "INSERT INTO sync.pending_imports BY NAME"
                " SELECT 'clients' AS entity, 13 AS bms_id, 'Zenith Corp' AS name,"
                " 'clients_1.csv' AS file, now() - INTERVAL 9 DAY AS handed_over_at, now() AS written_at"
            )
        found.let_go_of_the_warehouse()
        yield found


@pytest.fixture(scope="module")
def console(world: World) -> Iterator[Console]:
    with served(world.settings) as found:
        yield found


def entered(context: BrowserContext, console: Console) -> Page:
    """A page of somebody who said who they are."""
    page = context.new_page()
    page.goto(console.new_address())
    robin = Mouse(page)
    robin.type("Your name", "Robin")
    robin.press("Go on")
    return page


def pages_of(world: World) -> list[str]:
    """Every page: also the last question before the finish of the current plan."""
    return [*PAGES, f"/preview/finish?hash={planning.current_plan(world.warehouse).hash}"]


def offends(page: Page) -> list[str]:
    """What axe-core finds on this page."""
    found = Axe().run(page).response["violations"]
    return [
        f"{page.url}: {each['id']} ({each['help']}): {[node['html'][:150] for node in each['nodes']][:3]}"
        for each in found
    ]


def test_no_page_is_wider_than_a_phone_or_a_desk_and_none_asks_for_what_is_not_its_own(
    browser: Browser, world: World, console: Console
) -> None:
    complaints: list[str] = []
    asked_for: set[str] = set()
    with browser.new_context(viewport={"width": PHONE, "height": 800}) as context:
        context.add_init_script(HEARD)
        page = entered(context, console)
        page.on("console", lambda said: complaints.append(f"{page.url}: {said.text}") if said.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(f"{page.url}: {error}"))
        page.on("request", lambda request: asked_for.add(request.url.split("/")[2]))
        for width in (PHONE, DESK):
            page.set_viewport_size({"width": width, "height": 800})
            for address in pages_of(world):
                page.goto(f"http://127.0.0.1:{console.port}{address}")
                assert page.evaluate(TOO_WIDE) == 0, f"{address} at {width} px"
    assert asked_for == {f"127.0.0.1:{console.port}"}
    assert [each for each in complaints if "404 (Not Found)" not in each] == []


WAYS: dict[str, dict[str, Any]] = {
    "desk": {},
    "phone": {"viewport": {"width": PHONE, "height": 800}},
    "dark": {"color_scheme": "dark"},
    "dark phone": {"color_scheme": "dark", "viewport": {"width": PHONE, "height": 800}},
    "forced colours": {"forced_colors": "active", "reduced_motion": "reduce"},
    "zoomed to 200 %": {"viewport": {"width": DESK // 2, "height": 400}, "device_scale_factor": 2},
    "print": {},
}
"""Way to look at a page → how the browser is set up for it."""


@pytest.mark.parametrize("way", [way if way == "desk" else pytest.param(way, marks=pytest.mark.soak) for way in WAYS])
def test_axe_finds_nothing_on_any_page(browser: Browser, world: World, console: Console, way: str) -> None:
    """The policy is bypassed, because axe could not run under it. Contrast is a matter of the colour scheme, too."""
    viewport = {"width": DESK, "height": 800}
    with browser.new_context(**{"bypass_csp": True, "viewport": viewport, **WAYS[way]}) as context:
        page = entered(context, console)
        if way == "print":
            page.emulate_media(media="print")
        found = []
        for address in pages_of(world):
            page.goto(f"http://127.0.0.1:{console.port}{address}")
            assert page.evaluate(TOO_WIDE) == 0, address
            found += offends(page)
    assert found == []


def test_a_printed_page_holds_the_content_and_nothing_to_press(
    browser: Browser, world: World, console: Console
) -> None:
    with browser.new_context(viewport={"width": DESK, "height": 800}) as context:
        page = entered(context, console)
        page.emulate_media(media="print")
        for address in pages_of(world):
            page.goto(f"http://127.0.0.1:{console.port}{address}")
            for shown in ("button", "nav", "input[type=checkbox]", ".skip", "select"):
                if address.startswith("/setup") and shown == "input[type=checkbox]":
                    continue  # the toggles are what that page says
                assert page.locator(f"{shown}:visible").count() == 0, (address, shown)
            assert page.locator("h1:visible").count() == 1, address
        page.goto(f"http://127.0.0.1:{console.port}/review/clients")
        head, row = (page.locator(f".grid {part} tr").first.locator("th, td") for part in ("thead", "tbody"))
        lefts = [[cell.bounding_box() for cell in cells.all()] for cells in (head, row)]
        assert [box and round(box["x"]) for box in lefts[0]] == [box and round(box["x"]) for box in lefts[1]]


def test_the_icon_is_a_picture_of_ours_that_needs_no_session(browser: Browser, console: Console) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        answer = page.goto(f"http://127.0.0.1:{console.port}/static/icon.svg")
        assert answer is not None
        assert (answer.status, answer.headers["content-type"]) == (200, "image/svg+xml")
        page = entered(context, console)
        assert page.locator("link[rel=icon]").get_attribute("href") == "/static/icon.svg"
        assert page.locator("meta[name=description]").get_attribute("content")


def test_the_first_stop_of_the_tab_key_leads_past_the_menu(browser: Browser, console: Console) -> None:
    with browser.new_context(viewport={"width": DESK, "height": 800}) as context:
        page = entered(context, console)
        page.goto(f"http://127.0.0.1:{console.port}/review/clients")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        nav = page.locator(".top nav li")
        tops = {round((item.bounding_box() or {"y": -1})["y"]) for item in nav.all()}
        assert len(tops) == 1, "the menu stands on one line"


def test_what_axe_is_there_to_find_is_found(browser: Browser) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.set_content("<html lang=en><title>x</title><input><img src='data:,'><p style='color:#ccc'>pale")
        assert len(offends(page)) == 6


def test_a_run_at_work_a_decision_that_waits_and_one_overtaken_are_pages_like_all_others(
    browser: Browser, console: Console, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_replica, "WAIT_SECONDS", 0.2)
    with browser.new_context(bypass_csp=True, viewport={"width": PHONE, "height": 800}) as context:
        page = entered(context, console)
        robin = Mouse(page)
        robin.press("Users 2 waiting")
        with run_lock.running(world.settings, "bms-pipeline sync") as told:
            told("load contacts", 3, 10)
            page.get_by_role("button", name="Exclude Cy Twombly").click()
            page.get_by_role("heading", name="This has to wait").wait_for()
            assert "This has to wait" in page.inner_text("h1")
            found = offends(page)
            assert page.evaluate(TOO_WIDE) == 0
            page.goto(f"http://127.0.0.1:{console.port}/runs")
            assert page.locator("progress").get_attribute("value") == "3"
            assert page.get_by_role("button", name="Sync now").count() == 0
            told("load contacts", 9, 10)
            page.locator("progress[value='9']").wait_for()  # nobody reloaded anything
            assert "load contacts 9 of 10" in page.inner_text(".as-of")
            found += offends(page)
        page.locator("#live:not([data-renew])").wait_for()
        assert "Done in " in page.inner_text("#live")
        assert "Succeeded" in page.inner_text("main"), "all of the page is renewed"
        assert page.get_by_role("button", name="Sync now").count() == 1
        page.goto(f"http://127.0.0.1:{console.port}/review/users")
        blake = Person(console, "Blake")
        blake.get("/review/users")
        blake.send("/review/users/decide", act="create:3")
        robin.decide("Exclude Cy Twombly")
        assert "create by Blake" in page.inner_text(".news .refused")
        assert found + offends(page) == []


def test_a_browser_that_has_not_signed_in_is_shown_where_a_code_comes_from(browser: Browser, console: Console) -> None:
    with browser.new_context(bypass_csp=True) as context:
        page = context.new_page()
        answer = page.goto(f"http://127.0.0.1:{console.port}/review/clients")
        assert answer is not None
        assert answer.status == 403
        assert "bms-pipeline sign-in" in page.inner_text("main")
        assert offends(page) == []


@pytest.mark.parametrize("by", ["form", "address"])
def test_an_address_that_a_colleague_sent_is_opened_after_the_log_in(
    browser: Browser, console: Console, by: str
) -> None:
    shared = f"{console.origin}/review/clients?q=acme&disposition=matched"
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(shared)
        page.goto(f"{console.origin}/static/icon.svg")  # what is no page asked for by a person changes nothing
        address = console.new_address()
        if by == "form":
            page.goto(shared)
            page.get_by_label("One-time code").fill(address.partition("code=")[2])
            page.get_by_role("button", name="Sign in").click()
        else:
            page.goto(address)
        page.get_by_label("Your name").wait_for()
        robin = Mouse(page)
        robin.type("Your name", " ")
        robin.press("Go on")
        assert "Enter a name" in page.inner_text("main")
        robin.type("Your name", "Robin")
        robin.press("Go on")
        assert page.url == shared


def test_hostile_names_do_not_break_the_layout_of_a_phone(browser: Browser, tmp_path: Path) -> None:
    with opened_world(tmp_path / "hostile") as world:
        world.accounts = [account(20 + n, each) for n, each in enumerate(HOSTILE)]
        world.contacts = [contact(100 + n, 20, each, each, each, jobTitle=each) for n, each in enumerate(HOSTILE)]
        world.passportal_holds(clients=[in_passportal(f"P{n}", f"{each}.") for n, each in enumerate(HOSTILE)])
        world.plan()
        world.let_go_of_the_warehouse()
        with (
            served(world.settings) as console,
            browser.new_context(viewport={"width": PHONE, "height": 800}) as context,
        ):
            page = entered(context, console)
            dialogs: list[str] = []

            def dismiss(dialog: Dialog) -> None:
                dialogs.append(dialog.message)
                dialog.dismiss()

            page.on("dialog", dismiss)
            for address in ("/", "/review/clients", "/review/contacts", "/review/clients/20/match?q=x",
                            "/records/clients/30", "/preview", "/preview/records"):  # fmt: skip
                page.goto(f"http://127.0.0.1:{console.port}{address}")
                assert page.evaluate(TOO_WIDE) == 0, address
            assert dialogs == []
