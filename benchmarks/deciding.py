"""Two hundred decisions by keyboard in a real browser: keys, page loads and seconds for each, and four usual tasks.

The former way is that of version 0.5, as counted by hand: a list without candidates, where each decision took two
clicks and two page loads.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from playwright.sync_api import Browser, Page

from benchmarks.console import _home
from benchmarks.whole_tenant import Figure
from bms_pipeline.console.context import Console
from bms_pipeline.core.settings import Settings
from bms_pipeline.sync import whole_sync
from bms_pipeline_tests.chromium import Mouse, chromium
from bms_pipeline_tests.console.serving import served
from bms_sandbox.tenant import Size

DECISIONS = 200
OPEN = "document.activeElement.closest('[data-waits]:not([data-sent])') !== null"
HAS = "key => !!document.activeElement.closest('[data-item]').querySelector(`[data-key=\"${key}\"]`)"
ASKS = "!!document.querySelector('.ask')"
LEFT = "document.querySelectorAll('[data-item][data-waits]:not([data-sent])').length"


@dataclass
class Hands:
    """Somebody at the keyboard, with a count of every key, click and page load."""

    page: Page
    keys: int = 0
    clicks: int = 0
    loads: int = 0
    began: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        """Count the page loads: what the main frame asks for."""
        self.page.on("request", lambda request: self._count(request.is_navigation_request()))

    def _count(self, is_load: bool) -> None:  # a callback's argument
        self.loads += is_load

    def go(self, address: str) -> None:
        """Open an address."""
        self.page.goto(address)

    def press(self, key: str) -> None:
        """Press a key."""
        self.page.keyboard.press(key)
        self.keys += 1

    def click(self, name: str) -> None:
        """Click the first button or link whose name begins so, which leads to another page."""
        found = self.page.get_by_role("button", name=name).or_(self.page.get_by_role("link", name=name))
        with self.page.expect_navigation():
            found.first.click()
        self.clicks += 1

    def type(self, text: str) -> None:
        """Type a text: one key for each letter."""
        self.page.keyboard.type(text)
        self.keys += len(text)

    @property
    def seconds(self) -> float:
        """The time since the beginning."""
        return time.perf_counter() - self.began

    def settle(self) -> None:
        """Wait until every decision is answered."""
        self.page.locator("[data-sent]").first.wait_for(state="detached")

    def decide(self, key: str) -> None:
        """Decide about the record in focus; a question is answered by the same key."""
        self.press(key)
        if self.page.evaluate(ASKS):
            self.press(key)

    def is_open(self) -> bool:
        """Whether a record that waits has the focus, after what is on its way has arrived."""
        if not self.page.evaluate(OPEN):
            self.settle()
        return bool(self.page.evaluate(OPEN))


def decide_all(hands: Hands, console: Console, wanted: int) -> None:
    """Twins first, then record by record: a match where one candidate fits, else in turn created and excluded."""
    for address in ("clients/twins", "users/twins", "clients?disposition=unmatched", "users?disposition=unmatched"):
        hands.go(f"{console.origin}/review/{address}")
        if not hands.page.evaluate(LEFT):
            continue
        hands.press("j")
        turn = 0
        while decided(console) + pending(hands) < wanted and hands.is_open():
            turn += 1
            is_group = "twins" in address
            has = partial(hands.page.evaluate, HAS)
            hands.decide("m" if has("m") and (is_group or turn % 8) else "c" if is_group or turn % 2 else "x")
        hands.settle()


def tasks(hands: Hands, console: Console) -> Iterator[Figure]:
    """Four tasks, each with the keys, clicks and page loads that it takes from the list's page on."""
    yield from _counted(
        hands, "decide 20 unmatched clients (former way: 40 clicks, 40 loads)", partial(_twenty, hands, console)
    )
    name = "part of its name"
    yield from _counted(hands, f"find one client by {name}, in any state", partial(_find, hands, console))
    yield from _counted(hands, "exclude all unmatched users but 5", partial(_all_but_five, hands, console))
    yield from _counted(hands, "unblock most of the blocked assets", partial(_unblock, hands, console))


def _counted(hands: Hands, what: str, do: Callable[[], str]) -> Iterator[Figure]:
    keys, clicks, loads = hands.keys, hands.clicks, hands.loads
    found = do()
    hands.settle()
    label = f"{what}: {found}"
    yield f"{label}; keys", hands.keys - keys, "none"
    yield f"{label}; clicks", hands.clicks - clicks, "none"
    yield f"{label}; page loads", hands.loads - loads, "none"


def _twenty(hands: Hands, console: Console) -> str:
    before = decided(console)
    hands.go(f"{console.origin}/review/clients?disposition=unmatched")
    hands.press("j")
    for turn in range(20):
        if hands.is_open():
            hands.decide("m" if hands.page.evaluate(HAS, "m") else "cx"[turn % 2])
    hands.settle()
    return f"{decided(console) - before} decided"


def _find(hands: Hands, console: Console) -> str:
    named = "disposition = 'matched' AND regexp_full_match(name, '[A-Za-z ]+')"
    row = console.rows(
        f"SELECT name FROM bms.clients JOIN sync.reconciled_clients USING (bms_id) WHERE {named} LIMIT 1"
    )[0]
    hands.go(f"{console.origin}/review/clients?disposition=unmatched")
    hands.press("/")
    hands.type(row["name"][:6])
    with hands.page.expect_navigation():
        hands.press("Enter")
    return f"{hands.page.locator('[data-item]').count()} found, in all states"


def _all_but_five(hands: Hands, console: Console) -> str:
    before = decided(console)
    hands.go(f"{console.origin}/review/users?disposition=unmatched&all=1")
    boxes = hands.page.locator("[name=ticked]")
    for number in range(5):
        boxes.nth(number).uncheck()
        hands.clicks += 1
    with hands.page.expect_navigation():
        hands.page.locator("button[value=exclude]").click()
    with hands.page.expect_navigation():
        hands.page.locator("button.main").click()
    hands.clicks += 2
    return f"{decided(console) - before} excluded"


def _unblock(hands: Hands, console: Console) -> str:
    count = (
        "SELECT count(*) AS n FROM sync.reconciled_assets a JOIN sync.reconciled_clients c ON c.bms_id = a.account_id"
    )
    blocked = f"{count} WHERE a.disposition = 'blocked' AND c.disposition NOT IN ('matched', 'to_create')"
    before = console.rows(blocked)[0]["n"]
    hands.go(f"{console.origin}/review/assets?disposition=blocked")
    hands.click("Decide about these clients")
    hands.press("j")
    for _ in range(20):
        if hands.is_open():
            hands.decide("m" if hands.page.evaluate(HAS, "m") else "c")
    hands.settle()
    return f"{before - console.rows(blocked)[0]['n']:,} of {before:,} by 20 clients"


def pending(hands: Hands) -> int:
    """Count the decisions that are not answered yet."""
    return int(hands.page.evaluate("document.querySelectorAll('[data-sent]').length"))


def decided(console: Console) -> int:
    """Count the decisions in the ledger."""
    return int(console.rows("SELECT count(*) AS n FROM sync.decisions WHERE verb <> 'undo'")[0]["n"])


def measured(size: Size) -> Iterator[Figure]:
    """The figures: what, how much, the target."""
    with _home(size) as settings:
        whole_sync.prepare(settings)
        with served(settings) as console, chromium() as browser:
            hands = signed_in(browser, console)
            before, began = decided(console), time.process_time()
            decide_all(hands, console, DECISIONS)
            done, took = decided(console) - before, hands.seconds
            busy = time.process_time() - began
            yield "decisions by keyboard", done, f"≥ {DECISIONS}"
            for verb in ("match", "create", "exclude"):
                rows = console.rows("SELECT count(*) AS n FROM sync.decisions WHERE verb = ?", [verb])
                yield f"of them {verb}", rows[0]["n"], "≥ 1"
            yield "keys for each decision (former way: 2 clicks)", hands.keys / done, "≤ 1.2"
            yield "page loads for each decision (former way: 2)", hands.loads / done, "≤ 0.1"
            yield "seconds", took, "≤ 30 on a machine that does nothing else"
            yield "processor seconds of the console and of the person who types, without the browser", busy, "≤ 30"
        with _again(settings) as fresh, served(fresh) as console, chromium() as browser:
            yield from tasks(signed_in(browser, console), console)


@contextmanager
def _again(settings: Settings) -> Iterator[Settings]:
    """The same home, read again and without the decisions: in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        shutil.copy(settings.passportal_file, home)
        fresh = settings.model_copy(update={"bms_pipeline_home": home})
        whole_sync.prepare(fresh)
        yield fresh


def signed_in(browser: Browser, console: Console) -> Hands:
    """Somebody at the first page, with nothing counted yet."""
    page = browser.new_context(viewport={"width": 1400, "height": 900}).new_page()
    page.goto(console.new_address())
    robin = Mouse(page)
    robin.type("Your name", "Robin")
    robin.press("Go on")
    return Hands(page)
