"""A whole sync with its state in PostgreSQL: the same end as in a home folder, also when PostgreSQL was away."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import quote

import pytest

from bms_pipeline.load import apply
from bms_pipeline.state import opening
from bms_pipeline.state.opening import open_state
from bms_pipeline.state.recording import read_status
from bms_pipeline.sync import extraction, whole_sync
from bms_pipeline.sync.state_file import read_state
from bms_pipeline_tests.postgres import Server
from bms_pipeline_tests.running import Home
from bms_pipeline_tests.state.conftest import PASSWORD, crash
from bms_sandbox.process import Sandbox, running_sandbox

pytestmark = pytest.mark.timeout(900)
SYNC = ("sync", "--create-unmatched")


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with running_sandbox("small", 3, tmp_path_factory.mktemp("state") / "tenant", {"hourly_limit": None}) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def expected(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a sync ends in whose state is in its home folder."""
    home = Home(tmp_path_factory.mktemp("expected") / "home", sandbox)
    result = home.call(*SYNC)
    assert result.returncode == 0, result.stderr
    return home.state()


@pytest.fixture
def home(sandbox: Sandbox, address: str, tmp_path: Path) -> Home:
    opening._in_postgres.cache_clear()
    return Home(
        tmp_path / "home", sandbox, {"BMS_PIPELINE_STATE": address, "BMS_PIPELINE_LAKE": str(tmp_path / "lake")}
    )


def test_a_sync_leaves_its_state_in_postgresql_and_none_in_the_folder(home: Home, expected: dict[str, Any]) -> None:
    result = home.run(*SYNC)
    assert result.returncode == 0, result.stderr
    assert home.state() == expected
    state = open_state(home.settings)
    published, status = read_state(state), read_status(state)
    assert published is not None
    assert published.initial_sync_finished
    assert status is not None
    assert status.ended_at is not None
    assert status.message == ""
    left = {path.name for path in home.folder.iterdir()}
    assert not left & {"published.json", "progress.json", "budget.sqlite", "run.lock", "run.owner.json", "last_write"}
    assert home.status()["budget"]
    assert not [secret for secret in (PASSWORD, quote(PASSWORD, safe="")) if secret in result.stdout + result.stderr]
    for file in home.folder.rglob("*"):
        assert not file.is_file() or PASSWORD.encode() not in file.read_bytes()
    assert home.call("sync").returncode == 0


def test_details_land_at_once_because_the_folder_of_their_run_ends_with_it(home: Home) -> None:
    assert home.call(*SYNC).returncode == 0
    before = home.status()["details"]
    ended = home.call("fetch-details", "--limit", "3")
    assert ended.returncode == 0, ended.stderr
    for file in (home.folder / "landing").rglob("*"):
        assert "details" not in file.parent.name or file.is_dir()
    published = read_state(open_state(home.settings))
    assert published is not None
    assert published.details_waiting == before["waiting"] - 3
    assert home.status()["details"]["waiting"] == before["waiting"] - 3


@contextlib.contextmanager
def at_the(call: int, of: object, name: str, strike: Callable[[], None]) -> Iterator[None]:
    """Run ``strike`` before the ``call``-th call of a function."""
    go, calls = getattr(of, name), [0]

    def counted(*arguments: Any, **options: Any) -> Any:
        calls[0] += 1
        if calls[0] == call:
            strike()
        return go(*arguments, **options)

    with mock.patch.object(of, name, counted):
        yield


@pytest.mark.parametrize(
    ("of", "name", "call"),
    [
        pytest.param(extraction, "sweep_list", 2, marks=pytest.mark.soak),
        pytest.param(apply._Load, "_send_portion", 1, marks=pytest.mark.soak),
        (apply._Load, "_call", 1),
    ],
    ids=["reading", "before a portion", "before a call"],
)
def test_postgresql_crashes_in_mid_sync_and_the_next_run_goes_on(
    home: Home, expected: dict[str, Any], server: Server, of: object, name: str, call: int
) -> None:
    before = home.passportal("SELECT count(*) FROM records")
    with at_the(call, of, name, lambda: crash(server)):
        ended = home.call(*SYNC)
    assert ended.returncode == 1
    assert "was lost" in ended.stderr
    assert "Run again when PostgreSQL answers" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert PASSWORD not in ended.stdout + ended.stderr
    assert home.passportal("SELECT count(*) FROM records") == before  # nothing left after the lock was lost
    again = home.call(*SYNC)
    assert again.returncode == 0, again.stderr
    assert home.state() == expected
    assert home.warehouse("SELECT count(*) FROM sync.journal WHERE outcome IS NULL") == [(0,)]
    assert whole_sync.prepare(home.settings).operations == 0


def test_with_postgresql_away_every_command_ends_with_one_clear_error(home: Home, server: Server) -> None:
    server.stop("immediate")
    try:
        for command in (SYNC, ("preview",), ("status",)):
            ended = home.run(*command, BMS_PIPELINE_WAIT_SECONDS="1")
            assert (ended.returncode, "Traceback" in ended.stderr) == (1, False), ended.stderr
            assert "does not answer" in ended.stderr
    finally:
        server.start()


IMPORTED = """
import sys
from bms_pipeline.cli.app import main
try:
    main()
finally:
    print("psycopg" in sys.modules)
"""


@pytest.mark.parametrize("command", ["--help", "status"])
def test_without_the_setting_nothing_of_postgresql_is_imported(tmp_path: Path, command: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", IMPORTED, command],
        env={"PATH": os.environ["PATH"], "BMS_PIPELINE_HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert ended.stdout.splitlines()[-1] == "False"
