"""A sync on the lake asks PostgreSQL little: each statement is a round trip, and they are what a lake costs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from bms_pipeline.sync import whole_sync
from bms_pipeline_tests import lake, postgres
from bms_pipeline_tests.running import Home
from bms_sandbox.process import running_sandbox

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(lake.why_no_lake()), reason=lake.why_no_lake()),
]
# Measured figures and a tenth. They depend on no machine and on no tenant: each table that a statement of ours names
# costs about five of PostgreSQL's, each transaction about ten more.
NOTHING_CHANGED = 1450
AFTER_A_LOAD = 9250
_STATEMENT = re.compile(r"^(\S+) LOG:  (?:statement|execute \S+): (.*(?:\n\t.*)*)", re.MULTILINE)
OF_THE_LAKE, OF_THE_STATE = "bms_pipeline", "bms-pipeline"


class Log:
    """The log of a PostgreSQL that writes down every statement with the name of the program that sent it."""

    def __init__(self, server: postgres.Server) -> None:
        self._file = server.folder / "log"
        for setting, value in {"log_statement": "all", "log_line_prefix": "%a "}.items():
            lake.execute(server.port, f"ALTER SYSTEM SET {setting} = '{value}'")
        lake.execute(server.port, "SELECT pg_reload_conf()")
        while not self.statements():  # it takes the settings over in a moment
            lake.execute(server.port, "SELECT 1")

    def statements(self) -> list[tuple[str, str]]:
        """Program and text of each statement so far."""
        return _STATEMENT.findall(self._file.read_text(encoding="utf-8"))


@pytest.fixture
def server() -> Iterator[postgres.Server]:
    with postgres.running_server() as server:
        yield server


@pytest.fixture
def home(server: postgres.Server, tmp_path: Path) -> Iterator[Home]:
    shared = lake.new_lake(tmp_path / "lake", server.port)
    with running_sandbox("small", 3, tmp_path / "bms", {"hourly_limit": None}) as bms:
        yield Home(tmp_path / "home", bms, shared, has_lake=False, keeps_open=False)


def test_reading_and_planning_what_did_not_change_asks_postgresql_little(server: postgres.Server, home: Home) -> None:
    whole_sync.prepare(home.settings)
    log, calls = Log(server), sum(home.sandbox.calls().values())
    before = len(log.statements())
    whole_sync.prepare(home.settings)
    sent, made = log.statements()[before:], sum(home.sandbox.calls().values()) - calls
    assert 0 < of_the_lake(sent) <= NOTHING_CHANGED
    counting = [text for program, text in sent if program == OF_THE_STATE and "INSERT" in text and "recent_" in text]
    assert len(counting) == made, "a call is counted in one round trip"


@pytest.mark.soak
def test_a_sync_that_changes_nothing_asks_postgresql_little(server: postgres.Server, home: Home) -> None:
    """The whole command: its lock, its status and what it publishes."""
    assert home.call("sync", "--create-unmatched").returncode == 0
    log = Log(server)
    before = len(log.statements())
    assert home.call("sync").returncode == 0
    assert 0 < of_the_lake(log.statements()[before:]) <= AFTER_A_LOAD


def of_the_lake(sent: Sequence[tuple[str, str]]) -> int:
    return sum(program == OF_THE_LAKE for program, _ in sent)
