"""Every page in a real browser: it fits a phone and a desk, is accessible, and asks for nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page

from bms_pipeline.console import read_replica
from bms_pipeline.console.context import Console
from bms_pipeline.sync import run_lock
from bms_pipeline_tests.building import World, account, contact, in_passportal, opened_world
from bms_pipeline_tests.chromium import Mouse, chromium
from bms_pipeline_tests.console.serving import Person, served
from bms_pipeline_tests.console.test_hostile_names import HOSTILE

PAGES = (
    "/", "/setup", "/review/users", "/review/clients", "/review/clients?disposition=excluded",
    "/review/clients?q=e&all=1", "/review/clients/twins", "/review/clients/accept", "/review/users/create-unmatched",
    "/review/users/confirm?verb=exclude&disposition=unmatched", "/review/contacts/101/match", "/review/locations",
    "/review/contacts", "/review/assets", "/review/clients?q=nobody", "/review/clients/13/match",
    "/review/clients/12/match?q=twins", "/records/clients/10", "/records/contacts/100", "/preview", "/preview/records",
    "/runs", "/runs?then=/preview", "/orphans", "/hand-overs", "/duplicates", "/name", "/nothing",
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


def offends(page: Page) -> list[str]:
    """What axe-core calls serious or critical on this page."""
    found = Axe().run(page).response["violations"]
    return [
        f"{page.url}: {each['id']} ({each['help']}): {[node['html'][:150] for node in each['nodes']][:3]}"
        for each in found
        if each["impact"] in ("serious", "critical")
    ]


def test_no_page_is_wider_than_a_phone_or_a_desk_and_none_asks_for_what_is_not_its_own(
    browser: Browser, console: Console
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
            for address in PAGES:
                page.goto(f"http://127.0.0.1:{console.port}{address}")
                assert page.evaluate(TOO_WIDE) == 0, f"{address} at {width} px"
    assert asked_for == {f"127.0.0.1:{console.port}"}
    assert [each for each in complaints if "404 (Not Found)" not in each] == []


@pytest.mark.parametrize(
    ("scheme", "width"),
    [
        ("light", DESK),
        pytest.param("light", PHONE, marks=pytest.mark.soak),
        pytest.param("dark", DESK, marks=pytest.mark.soak),
    ],
)
def test_axe_finds_nothing_serious_on_any_page(browser: Browser, console: Console, scheme: str, width: int) -> None:
    """The policy is bypassed, because axe could not run under it. Contrast is a matter of the colour scheme, too."""
    viewport = {"width": width, "height": 800}
    with browser.new_context(bypass_csp=True, color_scheme=scheme, viewport=viewport) as context:  # type: ignore[arg-type]
        page = entered(context, console)
        found = []
        for address in PAGES:
            page.goto(f"http://127.0.0.1:{console.port}{address}")
            found += offends(page)
    assert found == []


def test_what_axe_is_there_to_find_is_found(browser: Browser) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.set_content("<html lang=en><title>x</title><input><img src='data:,'><p style='color:#ccc'>pale")
        assert len(offends(page)) == 3


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
            page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))  # type: ignore[func-returns-value]
            for address in ("/", "/review/clients", "/review/contacts", "/review/clients/20/match?q=x",
                            "/records/clients/30", "/preview", "/preview/records"):  # fmt: skip
                page.goto(f"http://127.0.0.1:{console.port}{address}")
                assert page.evaluate(TOO_WIDE) == 0, address
            assert dialogs == []
