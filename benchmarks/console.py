"""The review console: how long a person waits for a page and for a bulk decision, also while a run writes."""

from __future__ import annotations

import html
import os
import re
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psutil
import requests

from benchmarks.whole_tenant import Figure
from bms_pipeline.core.settings import Settings
from bms_pipeline.guard.door import ENTER
from bms_pipeline.guard.store import Store
from bms_pipeline.state.opening import open_state
from bms_pipeline.state.recording import read_status
from bms_pipeline.sync import planning, whole_sync
from bms_pipeline.warehouse.connection import open_warehouse
from bms_sandbox.passportal import fill_passportal
from bms_sandbox.process import running_sandbox
from bms_sandbox.tenant import Size

PAGES, DECISIONS = 100, 10
RECORDS = 5_000
"""A bulk decision is about so many, as nearly as a search finds."""
LIST = "/review/contacts"
FINDING = """
WITH parts AS (SELECT bms_id, unnest(range(1, length(name_key) + 1)) AS start, name_key FROM bms.contacts
               JOIN sync.reconciled_contacts USING (bms_id) WHERE disposition = 'to_create')
SELECT substring(name_key, start, 1) AS part, count(DISTINCT bms_id) AS records FROM parts GROUP BY ALL
ORDER BY abs(records - ?), part LIMIT 1
"""


@dataclass
class Person:
    """A browser without a screen."""

    origin: str
    session: requests.Session

    def get(self, path: str) -> str:
        """The page."""
        answer = self.session.get(self.origin + path, timeout=60)
        answer.raise_for_status()
        return answer.text

    def send(self, page: str, action: str, **fields: str) -> requests.Response:
        """Send the form of ``page`` that goes to ``action``, without following where it leads."""
        return self.session.post(
            self.origin + action,
            data=_form(page, action) | fields,
            headers={"Origin": self.origin},
            allow_redirects=False,
            timeout=120,
        )


def measured(size: Size) -> Iterator[Figure]:
    """The figures: what, how much, the target. Times are milliseconds."""
    with _home(size) as settings:
        whole_sync.prepare(settings, create_unmatched_by="benchmark")
        with open_warehouse(settings).open() as connection:
            part, records = connection.execute(FINDING, [RECORDS]).fetchall()[0]
            (listed,) = connection.execute("SELECT count(*) FROM sync.reconciled_contacts").fetchone() or (0,)
        with _console(settings) as (person, process):
            yield f"{size} tenant: records in the list", listed, "≥ 10000"
            still = dict(_pages(person))
            by_page = list(_decided(person, part))
            yield f"bulk decision about {records:,} records, p50", statistics.median(by_page), "none"
            yield f"bulk decision about {records:,} records, p95", _p95(by_page), "≤ 3000"
            by_command = _timed(
                lambda: _run(settings, "exclude", "contacts", "--disposition", "to_create", "--name", part)
            )
            yield "the same by command ÷ by page", by_command / statistics.median(by_page), "none"
            _decide(person, "include", "excluded", part)
            with _syncs(settings):
                for what, times in _pages(person):
                    yield f"{what} while a run writes, p50", statistics.median(times), "none"
                    yield f"{what} while a run writes, p95", _p95(times), "≤ 200"
                    yield f"{what}: while a run writes ÷ while none does, p95", _p95(times) / _p95(still[what]), "none"
                waited = _timed(lambda: _has_to_wait(person, settings, part))
                yield "bulk decision while a run writes: told that it has to wait, after", waited, "≤ 4000"
            yield "memory of the console, MiB", process.memory_info().rss / 2**20, "none"


def _pages(person: Person) -> Iterator[tuple[str, list[float]]]:
    """Which page, and how long each of many requests took."""
    words = ["smith", "jon", "maria", "lee", "ova", "ber", "garcia", "ch", "and", "x"]
    kinds: dict[str, Callable[[int], str]] = {
        "first page": lambda _: LIST,
        "search": lambda n: f"{LIST}?q={words[n % len(words)]}{'' if n % 3 else 'e'}",
        "filter, sort, a page in the middle": lambda n: f"{LIST}?disposition=to_create&sort=name&page={n + 2}",
    }
    for what, address in kinds.items():
        person.get(address(0))
        yield what, [_timed(partial(person.get, address(number))) for number in range(PAGES)]


def _decided(person: Person, part: str) -> Iterator[float]:
    """Exclude all that a search finds, and include them again, and so on; how long each took."""
    for _ in range(DECISIONS):
        yield _decide(person, "exclude", "to_create", part)
        yield _decide(person, "include", "excluded", part)


def _decide(person: Person, verb: str, disposition: str, part: str) -> float:
    page = person.get(f"{LIST}?{urlencode({'disposition': disposition, 'q': part})}")
    began = time.perf_counter()
    answer = person.send(page, f"{LIST}/decide", act=verb, of="all", sure="yes")
    took = (time.perf_counter() - began) * 1000
    if answer.status_code != 303 or "told news" not in person.get(answer.headers["location"]):
        raise SystemExit(f"the decision was not taken: {answer.status_code} {answer.text[:500]}")
    return took


def _has_to_wait(person: Person, settings: Settings, part: str) -> None:
    """Decide while a run holds the home folder."""
    for _ in range(100):
        run = read_status(open_state(settings))
        if run is not None and run.is_running:
            answer = person.send(
                person.get(f"{LIST}?disposition=to_create&q={part}"),
                f"{LIST}/decide",
                act="exclude",
                of="all",
                sure="yes",
            )
            if answer.status_code == 503:
                return
        time.sleep(0.05)
    raise SystemExit("no decision had to wait")


def _p95(times: list[float]) -> float:
    return statistics.quantiles(times, n=20)[-1]


def _timed(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return (time.perf_counter() - began) * 1000


def _form(page: str, action: str) -> dict[str, str]:
    found = re.search(rf'<form method="post" action="{re.escape(action)}".*?</form>', page, re.DOTALL)
    if found is None:
        raise SystemExit(f"no form for {action}")
    hidden = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', found.group())
    return {name: html.unescape(value) for name, value in hidden if not name.startswith("stamp.")}


@contextmanager
def _home(size: Size) -> Iterator[Settings]:
    """Settings of a home folder with a sandbox behind it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with running_sandbox(size, 1, folder / "tenant", {"hourly_limit": None}, start_seconds=600) as bms:
            home = folder / "home"
            home.mkdir()
            fill_passportal(home / "passportal.duckdb", bms.folder)
            yield Settings(
                _env_file=None,  # type: ignore[call-arg]
                bms_url=bms.url,
                bms_tenant=bms.login["tenant"],
                bms_username=bms.login["username"],
                bms_password=bms.login["password"],  # type: ignore[arg-type]
                bms_pipeline_home=home,
                bms_calls_per_hour=10**9,
            )


@contextmanager
def _console(settings: Settings) -> Iterator[tuple[Person, psutil.Process]]:
    """`bms-pipeline console` in a process of its own, and somebody in front of it."""
    command = [*_COMMAND, "console", "--port", "0"]
    with subprocess.Popen(command, env=_environment(settings), stdout=subprocess.PIPE, text=True) as process:
        try:
            if process.stdout is None:
                raise AssertionError("its output is a pipe")
            address = process.stdout.readline().split()[-1]
            code = Store(settings.guard_folder).new_code()
            with requests.Session() as session:
                person = Person(address, session)
                session.get(f"{address}{ENTER}?code={code}", timeout=60)
                person.send(person.get("/name"), "/name", name="benchmark")
                yield person, psutil.Process(process.pid)
        finally:
            process.terminate()


@contextmanager
def _syncs(settings: Settings) -> Iterator[None]:
    """Runs that write, one after another: first the whole plan is loaded, then full syncs of all."""
    plan = planning.plan_from_stored(open_warehouse(settings))
    commands = (
        f"{shlex.join([*_COMMAND, 'finish', plan.hash])}; while {shlex.join([*_COMMAND, 'sync', '--full'])}; do :; done"
    )
    with subprocess.Popen(
        ["/bin/sh", "-c", commands],
        env=_environment(settings),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            while (run := read_status(open_state(settings))) is None or not run.stage.startswith("load "):
                time.sleep(0.05)
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)


_COMMAND = (sys.executable, "-m", "bms_pipeline.cli")


def _run(settings: Settings, *arguments: str) -> None:
    done = subprocess.run(
        [*_COMMAND, *arguments], env=_environment(settings), check=False, capture_output=True, text=True
    )
    if done.returncode == 1:
        raise SystemExit(f"{arguments} failed: {done.stderr}")


def _environment(settings: Settings) -> dict[str, str]:
    values: dict[str, Any] = {
        "BMS_URL": settings.bms_url,
        "BMS_TENANT": settings.bms_tenant,
        "BMS_USERNAME": settings.bms_username,
        "BMS_PASSWORD": settings.bms_password.get_secret_value(),
        "BMS_PIPELINE_HOME": settings.bms_pipeline_home,
        "BMS_CALLS_PER_HOUR": settings.bms_calls_per_hour,
    }
    return {**os.environ, **{name: str(value) for name, value in values.items()}}
