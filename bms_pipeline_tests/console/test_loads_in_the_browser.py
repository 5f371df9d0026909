"""The pages of loads, clients and stories in a real browser: a phone, a desk, axe, and times by the reader's clock."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from bms_pipeline.console.context import Console
from bms_pipeline.reports import figures
from bms_pipeline_tests.building import World
from bms_pipeline_tests.chromium import chromium
from bms_pipeline_tests.console.test_loads import console, world
from bms_pipeline_tests.console.test_pages_in_the_browser import DESK, PHONE, TOO_WIDE, entered, offends

__all__ = ["console", "world"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def addresses(world: World) -> list[str]:
    plan_id = figures.loads(world.warehouse)[-1]["plan_id"]
    return [
        "/", "/runs", f"/loads/{plan_id}", f"/loads/{plan_id}?q=nobody", "/clients/10", "/clients/10?tab=load",
        "/clients/11?tab=waiting", "/clients/13?tab=load", "/records/clients/10", "/records/contacts/101",
        "/loads/9999",
    ]  # fmt: skip


@pytest.mark.parametrize(("scheme", "width"), [("light", DESK), ("dark", PHONE)])
def test_they_fit_and_axe_finds_nothing(
    browser: Browser, console: Console, addresses: list[str], scheme: str, width: int
) -> None:
    viewport = {"width": width, "height": 800}
    with browser.new_context(bypass_csp=True, color_scheme=scheme, viewport=viewport) as context:  # type: ignore[arg-type]
        page = entered(context, console)
        found: list[str] = []
        for address in addresses:
            page.goto(f"http://127.0.0.1:{console.port}{address}")
            for summary in page.locator("details:not([open]) > summary").all():
                summary.click()
            assert page.evaluate(TOO_WIDE) == 0, address
            found += offends(page)
    assert found == []


def test_a_time_is_shown_by_the_readers_clock_with_all_of_it_in_the_tooltip(
    browser: Browser, console: Console, addresses: list[str]
) -> None:
    with browser.new_context(timezone_id="Asia/Tokyo") as context:
        page = entered(context, console)
        page.goto(f"http://127.0.0.1:{console.port}{addresses[2]}")
        moment = page.locator(".story time")
        sent = moment.get_attribute("datetime")
        hour = page.evaluate("sent => new Date(sent).toLocaleString('en-GB', { hour: '2-digit' })", sent)
        assert sent is not None
        assert int(hour) == (int(sent[11:13]) + 9) % 24
        assert re.fullmatch(rf"(today at {hour}:\d\d|on \d+ \w+)", moment.inner_text())
        assert re.fullmatch(r".*GMT\+9 \(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\)", moment.get_attribute("title") or "")


def test_without_scripts_a_time_stands_in_utc(browser: Browser, console: Console, addresses: list[str]) -> None:
    with browser.new_context(java_script_enabled=False, timezone_id="Asia/Tokyo") as context:
        page = entered(context, console)
        page.goto(f"http://127.0.0.1:{console.port}/runs")
        assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", page.inner_text("main"))
