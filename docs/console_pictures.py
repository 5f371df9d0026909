"""Take the pictures of the review console in ``docs/images``; see `make pictures`.

Starts the sandbox and `bms-pipeline console` in a temporary folder, goes the wizard's way in the browser, and stops
everything it started.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from bms_pipeline.guard.door import ENTER
from bms_pipeline.guard.store import Store
from bms_pipeline_tests.chromium import find_chromium
from bms_sandbox.passportal import fill_passportal
from bms_sandbox.process import running_sandbox
from docs.pictures import save, save_walk

DESK, PHONE = {"width": 1400, "height": 900}, {"width": 400, "height": 900}
RUN_SECONDS = 600


def main() -> None:
    """Go the wizard's way and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="typical", choices=("small", "typical"))
    size = parser.parse_args().size
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        with running_sandbox(size, 1, work / "tenant", {"hourly_limit": None}) as sandbox:
            home = work / "home"
            home.mkdir()
            fill_passportal(home / "passportal.duckdb", work / "tenant")
            login = sandbox.login
            connection = {
                "Portal URL": sandbox.url,
                "Tenant": login["tenant"],
                "User name": login["username"],
                "Password": login["password"],
            }
            with _console(home) as address, _browser() as page:
                page.goto(address)
                _set_up(page, connection)
                save_walk([*_review(page), *_load(page)], "walk")


def _set_up(page: Page, connection: dict[str, str]) -> None:
    page.get_by_label("Your name").fill("Robin")
    _press(page, "Go on")
    page.get_by_role("link", name="Set-up", exact=True).first.click()
    for label, text in connection.items():
        page.get_by_label(label).first.fill(text)
    _press(page, "Save")
    _press(page, "Authenticate")
    _shoot(page, "setup")
    _press(page, "Next: User Sync")
    _wait_for_the_run(page)
    _press(page, "Auto-Match All")
    _create_unmatched(page)
    page.get_by_role("link", name="Next: Client Sync").click()


def _review(page: Page) -> list[bytes]:
    _press(page, "Auto-Match All")
    page.get_by_role("link", name=re.compile("^Unmatched")).first.click()
    page.locator(".candidate").first.wait_for()
    waiting = page.url
    page.locator(".candidate a").first.evaluate("link => { location.href = link.href; }")
    page.locator("ol.suggestions").wait_for()
    _shoot(page, "match")
    page.goto(waiting.split("?")[0] + "/twins")
    _shoot(page, "twins")
    page.set_viewport_size(PHONE)
    page.goto(waiting)
    _shoot(page, "narrow")
    page.set_viewport_size(DESK)
    page.goto(waiting)
    walk = [_shoot(page, "clients")]
    page.keyboard.press("j")
    page.keyboard.press("m")
    page.locator(".news").get_by_role("button", name=re.compile("^Undo")).first.wait_for()
    walk.append(_shot(page))
    _create_unmatched(page)
    return walk


def _load(page: Page) -> list[bytes]:
    _press(page, "Next: Sync Preview")
    _wait_for_the_run(page)
    walk = [_shoot(page, "preview")]
    page.get_by_role("link", name="Finish…").click()
    walk.append(_shot(page))
    _press(page, "Finish: load exactly this plan")
    page.locator("progress[max]:not([value='0'])").wait_for(timeout=RUN_SECONDS * 1000)
    walk.append(_shoot(page, "runs"))
    page.locator(".result").wait_for(timeout=RUN_SECONDS * 1000)
    walk.append(_shot(page))
    page.get_by_role("link", name="Overview", exact=True).click()
    walk.append(_shoot(page, "overview"))
    return walk


def _create_unmatched(page: Page) -> None:
    page.get_by_role("link", name=re.compile("^Create Unmatched")).click()
    page.get_by_role("button", name=re.compile("^Create")).first.click()


def _press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).first.click()


def _wait_for_the_run(page: Page) -> None:
    """Wait until the page has gone on to the next step by itself, or for its link after a finish."""
    if page.locator("main[data-then]").count() and page.locator("#live[data-renew]").count():
        page.wait_for_url(lambda address: "/runs" not in address, timeout=RUN_SECONDS * 1000)
        return
    following = page.get_by_role("link", name=re.compile("^Next"))
    following.wait_for(timeout=RUN_SECONDS * 1000)
    following.click()


def _shoot(page: Page, name: str) -> bytes:
    shot = _shot(page)
    save(shot, f"console_{name}")
    return shot


def _shot(page: Page) -> bytes:
    page.evaluate("scrollTo(0, 0)")
    return page.screenshot()


@contextmanager
def _console(home: Path) -> Iterator[str]:
    """`bms-pipeline console` on ``home``; its address with a one-time code."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("BMS_", "PASSPORTAL_"))}
    command = [sys.executable, "-m", "bms_pipeline.cli", "console", "--port", "0"]
    with subprocess.Popen(  # noqa: S603  # our own command
        command, env={**environment, "BMS_PIPELINE_HOME": str(home)}, cwd=home, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            if process.stdout is None:
                raise AssertionError("its output is a pipe")
            yield f"{process.stdout.readline().split()[-1]}{ENTER}?code={Store(home / 'guard').new_code()}"
        finally:
            process.terminate()


@contextmanager
def _browser() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--headless", "--no-sandbox"])
        yield browser.new_page(viewport=DESK)
        browser.close()


if __name__ == "__main__":
    main()
