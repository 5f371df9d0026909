"""A tenant in German, from the first preview to a second sync that plans nothing, by the page Fields in a browser."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from bms_pipeline.console.context import Console
from bms_pipeline_tests.chromium import Keyboard, Mouse, chromium
from bms_pipeline_tests.console.serving import served
from bms_pipeline_tests.console.test_pages_in_the_browser import TOO_WIDE, WAYS, entered, offends
from bms_pipeline_tests.console.test_wizard_in_the_browser import go_on_after_the_run, says
from bms_pipeline_tests.german import CLIENT, german_home
from bms_pipeline_tests.running import Home

PICTURES = os.environ.get("PICTURES_OF_FIELDS")
"""A folder for pictures of each state, for whoever looks at them."""
PLACES = """
SELECT count(*) FILTER (details['Seriennummer'] IS NOT NULL OR details['S/N'] IS NOT NULL),
       count(*) FILTER (details['Serial Number'] IS NOT NULL)
FROM records WHERE type = 'asset' AND marker IS NOT NULL
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Read and planned: its preview says what has no place."""
    with german_home(tmp_path_factory.mktemp("german")) as found:
        said = found.call("preview")
        assert "No place in template Gerät of assets for: " in said.stdout
        yield found


@pytest.fixture(scope="module")
def console(home: Home) -> Iterator[Console]:
    with served(home.settings, home.folder / ".env") as found:
        yield found


def picture(page: Page, name: str) -> None:
    if PICTURES:
        page.screenshot(path=f"{PICTURES}/{name}.png", full_page=True)


@pytest.mark.parametrize("way", ["desk", "dark phone", pytest.param("forced colours", marks=pytest.mark.soak)])
def test_the_page_is_accessible_and_fits_in_every_state(browser: Browser, console: Console, way: str) -> None:
    options: dict[str, Any] = {"bypass_csp": True, "viewport": {"width": 1400, "height": 800}, **WAYS[way]}
    with browser.new_context(**options) as context:
        page = entered(context, console)
        found = []
        person = Mouse(page)
        for state, press in (
            ("known", "Fields"),
            ("looked", "Look again" if console.kept.get("label samples") else "Look at documents"),
            ("draft", "Accept all suggestions"),
            ("tried", "Try it"),
            ("discarded", "Discard the draft"),
        ):
            person.press(press)
            assert page.evaluate(TOO_WIDE) == 0, state
            picture(page, f"{way} {state}")
            found += offends(page)
    assert found == []


def test_without_scripts_and_by_keys_alone_a_label_is_chosen_and_given_up(browser: Browser, console: Console) -> None:
    with browser.new_context(java_script_enabled=False) as context:
        robin = Mouse(entered(context, console))
        robin.press("Fields")
        name = "Label for Model in Gerät"
        robin.page.get_by_label(name, exact=True).select_option("Modell")
        robin.press("Set the label of Model")
        says(robin.page, "Your draft is not stored")
        assert robin.page.get_by_label(name, exact=True).input_value() == "Modell"
        robin.press("Leave out Model")
        says(robin.page, "left out")
    with browser.new_context() as context:
        page = entered(context, console)
        robin_keys = Keyboard(page)
        robin_keys.press("Fields")
        robin_keys.press("Accept this place of the BMS id")
        says(page, "Your draft is not stored")
        robin_keys.press("Discard the draft")


@pytest.mark.timeout(600)
def test_a_tenant_in_german_is_in_sync_after_a_few_presses(browser: Browser, console: Console, home: Home) -> None:
    """Preview, Fields, suggestions, preview, finish: the documents hold the values under German labels."""
    with browser.new_context(viewport={"width": 1400, "height": 900}) as context:
        page = entered(context, console)
        robin = Mouse(page)
        robin.press("Fields")
        robin.press("Look again" if console.kept.get("label samples") else "Look at documents")
        robin.press("Accept all suggestions")
        robin.press("Try it")
        says(page, "What storing it would do")
        robin.type("Why", "our templates are in German")
        robin.press("Store the mapping")
        says(page, "The mapping is stored.")
        robin.press("Sync Preview")
        robin.press("Read both sides, then re-plan")
        go_on_after_the_run(robin)
        says(page, "Sync Preview")
        lacking = page.locator(".left-out").all_inner_texts()
        assert not any("Serial Number" in text for text in lacking), lacking
        picture(page, "walk preview")
        robin.press("Finish…")
        robin.press("Finish: load exactly this plan")
        go_on_after_the_run(robin)
    german, english = home.passportal(PLACES)[0]
    assert (german > 10, english) == (True, 0)
    (markers,) = home.passportal("SELECT count(*) FROM records WHERE marker IS NOT NULL AND type <> 'client'")[0]
    assert markers == home.warehouse(
        "SELECT count(*) FROM sync.matches WHERE entity IN ('locations', 'contacts', 'assets')"
    )[0][0]  # fmt: skip
    assert home.warehouse(f"SELECT count(*) FROM bms.assets WHERE account_id = {CLIENT}")[0][0] > 0
    home.settle()
    second = home.call("sync")
    assert second.returncode == 0, second.stderr
    assert home.call("preview").returncode == 0, "the second sync planned nothing"
