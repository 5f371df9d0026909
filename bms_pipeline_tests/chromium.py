"""Chromium, and a person in front of it who has a mouse, or nothing but a keyboard."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from playwright.sync_api import Browser, Page, Response, sync_playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PLACES = ("/usr/bin/chromium", "/usr/lib/chromium/chromium", "/opt/google/chrome/chrome", "/snap/bin/chromium")
ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
MOST_PRESSES = 600
PATIENCE_SECONDS = 120
FOCUSED = """() => {
  const it = document.activeElement;
  if (!it || it === document.body) return null;
  const label = it.getAttribute("aria-label") || (it.labels && it.labels.length && it.labels[0].innerText);
  const style = getComputedStyle(it), box = it.getBoundingClientRect();
  return {
    name: (label || it.innerText || "").replace(/\\s+/g, " ").trim(),
    hasRing: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
    isInSight: box.width > 0 && box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth,
  };
}"""


class NoBrowser(Exception):
    """No Chromium or Chrome was found that runs."""

    def __init__(self) -> None:
        super().__init__(
            "The browser tests need Chromium or Chrome, and none that runs is on PATH. Install one (Debian: apt-get"
            " install chromium; elsewhere: .venv/bin/python -m playwright install --with-deps chromium), and run"
            " make test again."
        )


@cache
def find_chromium() -> str:
    """Return the first Chromium that runs: on PATH, where systems put it, or that which Playwright downloaded.

    Raises ``NoBrowser``. Some systems have a ``chromium`` that only says how to install one.
    """
    found = next(filter(_runs, [*filter(None, map(shutil.which, PROGRAMS)), *PLACES]), None)
    if found is None:
        with sync_playwright() as playwright:
            found = playwright.chromium.executable_path
    if not _runs(found):
        raise NoBrowser
    return found


def _runs(program: str) -> bool:
    try:
        return not subprocess.run([program, "--version"], check=False, capture_output=True, timeout=60).returncode
    except (OSError, subprocess.TimeoutExpired):
        return False


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser, for as long as it is needed. Raises ``NoBrowser``."""
    program = find_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


SENT = "[data-sent], main[aria-busy]"
"""What shows that a decision was sent and not answered yet."""


def is_list(response: Response) -> bool:
    """Whether this is the list that answers a decision."""
    return (
        response.request.method == "GET"
        and "/review/" in response.url
        and "text/html" in response.headers.get("content-type", "")
    )


def _named(name: str) -> re.Pattern[str]:
    return re.compile(rf"^\s*{re.escape(name)}\s*$".replace(r"\ ", r"\s+"))


@dataclass
class Mouse:
    """Somebody who points at things. Names are those that a screen reader would say."""

    page: Page

    def __post_init__(self) -> None:
        """Wait for a page as long as it takes: nobody measures how fast it comes."""
        self.page.set_default_timeout(PATIENCE_SECONDS * 1000)

    def press(self, name: str) -> None:
        """Press the first button or link of this name, and wait for the page that it leads to."""
        exactly = _named(name)
        found = self.page.get_by_role("button", name=exactly).or_(self.page.get_by_role("link", name=exactly))
        with self.page.expect_navigation():
            found.first.click()

    def decide(self, name: str) -> None:
        """Press the first button of this name, and wait for the answer, which comes without leaving the page."""
        with self.page.expect_response(is_list):
            self.page.get_by_role("button", name=_named(name)).first.click()
        self.page.locator(SENT).first.wait_for(state="detached")

    def type(self, label: str, text: str) -> None:
        """Fill in the field of this label."""
        self.page.get_by_label(label, exact=True).first.fill(text)

    def tick(self, label: str) -> None:
        """Tick the box of this label."""
        self.page.get_by_label(label, exact=True).check()

    def choose(self, _: str, wanted: str) -> None:
        """Of two choices, choose the one of this label."""
        self.page.get_by_label(wanted, exact=True).check()


@dataclass
class Keyboard:
    """Somebody who has nothing but keys. Whatever the focus comes to has to be in sight, with a ring around it."""

    page: Page

    def __post_init__(self) -> None:
        """See ``Mouse``."""
        self.page.set_default_timeout(PATIENCE_SECONDS * 1000)

    def press(self, name: str) -> None:
        """See ``Mouse``."""
        self._reach(name)
        with self.page.expect_navigation():
            self.page.keyboard.press("Enter")

    def decide(self, name: str) -> None:
        """See ``Mouse``."""
        self._reach(name)
        with self.page.expect_response(is_list):
            self.page.keyboard.press("Enter")
        self.page.locator(SENT).first.wait_for(state="detached")

    def type(self, label: str, text: str) -> None:
        """See ``Mouse``."""
        self._reach(label)
        self.page.keyboard.press("Control+A")
        self.page.keyboard.type(text)

    def tick(self, label: str) -> None:
        """See ``Mouse``."""
        self._reach(label)
        self.page.keyboard.press("Space")

    def choose(self, first: str, wanted: str) -> None:
        """See ``Mouse``; ``first`` is the choice that is made already: the arrow keys go on from there."""
        self._reach(first)
        self.page.keyboard.press("ArrowDown")
        assert self._focused()["name"] == wanted

    def _reach(self, name: str) -> None:
        seen = []
        for _ in range(MOST_PRESSES):
            self.page.keyboard.press("Tab")
            focused = self._focused()
            seen.append(focused["name"])
            if focused["name"] == name:
                assert focused["isInSight"], f"the focus is on {name!r}, and nobody sees it"
                assert focused["hasRing"], f"nothing shows that the focus is on {name!r}"
                return
        raise AssertionError(f"no way by Tab to {name!r}; it came to {list(dict.fromkeys(seen))}")

    def _focused(self) -> dict[str, Any]:
        found: dict[str, Any] | None = self.page.evaluate(FOCUSED)
        return found or {"name": "", "isInSight": True, "hasRing": True}
