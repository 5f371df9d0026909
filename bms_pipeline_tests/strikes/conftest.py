"""The bench, the option that replays one strike, and the scoreboard."""

from __future__ import annotations

import os
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bms_pipeline_tests.strikes.bench import Bench, opened_bench
from bms_pipeline_tests.strikes.scenarios import SCENARIOS, Undisturbed, undisturbed

KIND, STRIKE, RESULT = "kind of strike", "strike", "result of the strike"
"""Names of what a test notes about its strike."""
RESULTS = ("held", "wrong")
_STARTED = time.time_ns()
REPLAY = "test_the_strike_that_the_option_names_holds"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--strike`` and ``--strike-seed``."""
    parser.addoption("--strike", help="replay this one strike, as a failed test printed it")
    parser.addoption("--strike-seed", type=int, help="of the strikes that are drawn; default: another one each time")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With ``--strike`` run nothing but that strike, without it all others."""
    replaying = bool(config.getoption("--strike", default=None))
    wanted = [item for item in items if (item.name == REPLAY) is replaying or _elsewhere(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in wanted])
    items[:] = wanted


def _elsewhere(item: pytest.Item) -> bool:
    return Path(__file__).parent not in item.path.parents


@pytest.fixture(scope="session")
def strike_seed(request: pytest.FixtureRequest) -> int:
    """Of what is drawn: the same in each process of one run."""
    return _seed(request.config)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give each process of a run with several the same seed."""
    node.workerinput["strike_seed"] = _seed(node.config)


def _seed(config: pytest.Config) -> int:
    given = config.getoption("--strike-seed", default=None) or os.environ.get("STRIKE_SEED")
    if given is not None:
        return int(given)
    work = getattr(config, "workerinput", {})
    return int(work.get("strike_seed", zlib.crc32(str(work.get("testrunuid", _STARTED)).encode())))


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Everything that strikes share. What is replayed stays below the test's temporary folder."""
    replaying = bool(request.config.getoption("--strike", default=None))
    with opened_bench(tmp_path_factory.mktemp("strikes"), keep_cases=replaying) as opened:
        yield opened


@pytest.fixture(scope="session")
def seen(bench: Bench) -> Callable[[str], Undisturbed]:
    """How a scenario goes when nobody strikes, by its name; looked at once in a session."""
    known: dict[str, Undisturbed] = {}

    def look(name: str) -> Undisturbed:
        if name not in known:
            known[name] = undisturbed(bench, SCENARIOS[name])
        return known[name]

    return look


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print what was struck and what held."""
    results: dict[str, Counter[str]] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            noted = getattr(report, "user_properties", ()) if getattr(report, "when", "") == "call" else ()
            for kind in (value for name, value in noted if name == KIND):
                results.setdefault(kind, Counter())[dict(noted).get(RESULT, "wrong")] += 1
    if not results:
        return
    terminalreporter.section(f"strikes, seed {_seed(config)}")
    row = "{:<16}{:>9}{:>9}{:>9}".format
    terminalreporter.write_line(row("kind", "strikes", *RESULTS))
    for kind, counts in [*sorted(results.items()), ("all", sum(results.values(), Counter()))]:
        terminalreporter.write_line(row(kind, counts.total(), *(counts[result] for result in RESULTS)))
