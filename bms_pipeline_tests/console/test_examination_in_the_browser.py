"""Doctor's findings in a real browser: they come while somebody types, fit a phone, and axe finds nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from bms_pipeline.console.context import Console
from bms_pipeline.doctor.examine import examine
from bms_pipeline_tests.chromium import chromium
from bms_pipeline_tests.console.serving import served
from bms_pipeline_tests.console.test_pages_in_the_browser import DESK, PHONE, TOO_WIDE, entered, offends
from bms_pipeline_tests.running import Home, running_home


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home with a report: the sandbox's Passportal has something to decide."""
    with running_home(tmp_path_factory.mktemp("examined"), target="documents_api") as running:
        examine(running.settings)
        yield running


@pytest.fixture(scope="module")
def console(home: Home) -> Iterator[Console]:
    env_file = home.folder / ".env"
    names = {name: text for name, text in home.environment.items() if name.startswith(("BMS_", "PASSPORTAL_"))}
    env_file.write_text("".join(f"{name}={text}\n" for name, text in names.items() if name != "BMS_PIPELINE_HOME"))
    env_file.chmod(0o600)
    with served(home.settings, env_file) as found:
        yield found
        found.examinations.end()


@pytest.mark.parametrize(("scheme", "width"), [("light", DESK), ("dark", DESK), ("light", PHONE), ("dark", PHONE)])
def test_the_findings_fit_and_axe_finds_nothing(browser: Browser, console: Console, scheme: str, width: int) -> None:
    viewport = {"width": width, "height": 800}
    with browser.new_context(bypass_csp=True, color_scheme=scheme, viewport=viewport) as context:  # type: ignore[arg-type]
        page = entered(context, console)
        page.goto(f"http://127.0.0.1:{console.port}/setup#examination")
        page.evaluate("document.querySelectorAll('#examination details').forEach(group => { group.open = true; })")
        assert page.locator("#examination details").count() == 3
        assert page.evaluate(TOO_WIDE) == 0
        if folder := os.environ.get("PICTURES"):
            page.locator("#examination").screenshot(path=Path(folder, f"doctor-{scheme}-{width}.png"))
            page.screenshot(path=Path(folder, f"page-{scheme}-{width}.png"), full_page=True)
        assert offends(page) == []


def test_the_findings_come_by_themselves_and_what_somebody_types_stays(browser: Browser, console: Console) -> None:
    with browser.new_context(viewport={"width": DESK, "height": 800}) as context:
        page = entered(context, console)
        page.goto(f"http://127.0.0.1:{console.port}/setup")
        page.get_by_role("button", name="Examine again").click()
        page.locator("#examination progress").wait_for()
        page.locator("#BMS_TENANT").fill("half of a na")

        page.get_by_role("button", name="Examine again").wait_for(timeout=60_000)

        assert page.locator("#BMS_TENANT").input_value() == "half of a na"
        assert page.locator("#examination progress").count() == 0
        assert page.locator("#examination > p time").inner_text()


def test_without_scripts_a_link_shows_whether_it_has_ended(browser: Browser, console: Console) -> None:
    with browser.new_context(java_script_enabled=False) as context:
        page = entered(context, console)
        page.goto(f"http://127.0.0.1:{console.port}/setup")
        page.get_by_role("button", name="Examine again").click()
        page.get_by_role("link", name="See whether it has ended").click()
        assert page.url.endswith("/setup/examination")
        page.get_by_role("button", name="Examine again").wait_for(timeout=60_000)
        assert page.locator("#examination details").count() == 3
