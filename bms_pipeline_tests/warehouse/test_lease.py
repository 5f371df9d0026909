"""Who may write: one run at a time, and never again one that was replaced."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bms_pipeline.core.errors import PipelineError, RunLocked
from bms_pipeline.core.run_status import RunName
from bms_pipeline.core.settings import Settings
from bms_pipeline.state.opening import open_state
from bms_pipeline.sync import run_lock
from bms_pipeline.sync.state_file import read_state
from bms_pipeline.warehouse import lease
from bms_pipeline.warehouse.connection import Warehouse, now, open_warehouse


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(_env_file=None, bms_pipeline_home=tmp_path)  # type: ignore[call-arg]


def test_a_second_run_is_told_who_is_at_work(settings: Settings) -> None:
    with (
        run_lock.running(settings, "Dagster run 1234abcd"),
        pytest.raises(RunLocked) as refused,
        run_lock.running(settings, "bms-pipeline sync"),
    ):
        raise AssertionError
    assert f"Dagster run 1234abcd (process {os.getpid()}, since " in refused.value.message
    with run_lock.running(settings):
        pass


def test_the_lock_ends_with_its_process_however_it_ends(settings: Settings) -> None:
    code = (
        "import os, signal\nfrom bms_pipeline.sync import run_lock\n"
        "from bms_pipeline.core.settings import read_settings\n"
        "with run_lock.running(read_settings(), 'a run that dies'):\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "BMS_PIPELINE_HOME": str(settings.bms_pipeline_home)}
    died = subprocess.run([sys.executable, "-c", code], env=environment, check=False, timeout=60)
    assert died.returncode == -9
    with run_lock.running(settings):
        pass


def test_a_run_that_was_replaced_commits_nothing_more(settings: Settings) -> None:
    """Somebody deleted the lock file, and another run started beside the first."""
    warehouse = open_warehouse(settings)
    with run_lock.running(settings, "the first run"):
        with warehouse.transaction() as connection:
            connection.execute("INSERT INTO sync.exclusions (entity, bms_id) VALUES ('users', 1)")
        (settings.bms_pipeline_home / "run.lock").unlink()
        code = (
            "from bms_pipeline.sync import run_lock\nfrom bms_pipeline.core.settings import read_settings\n"
            "with run_lock.running(read_settings(), 'the second run'):\n    pass\n"
        )
        environment = {**os.environ, "BMS_PIPELINE_HOME": str(settings.bms_pipeline_home)}
        subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=60)
        with pytest.raises(RunLocked, match=r"the second run .* took over"), warehouse.transaction() as connection:
            connection.execute("INSERT INTO sync.exclusions (entity, bms_id) VALUES ('users', 2)")
    with warehouse.open() as connection:
        assert connection.execute("SELECT bms_id FROM sync.exclusions").fetchall() == [(1,)]
        assert connection.execute("SELECT label, epoch, failed_because FROM sync.runs ORDER BY epoch").fetchall() == [
            ("the first run", 1, None),
            ("the second run", 2, None),
        ]


def test_who_holds_no_lease_is_not_checked(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path / "warehouse.duckdb")
    with warehouse.transaction() as connection:
        lease.take(connection, tmp_path / "another.duckdb", RunName("somebody"), now())
    lease.give_back(tmp_path / "another.duckdb")
    with warehouse.transaction() as connection:
        connection.execute("SELECT 1")


def test_how_things_stand_is_published_at_the_end_also_after_an_error(settings: Settings) -> None:
    assert read_state(open_state(settings)) is None
    with pytest.raises(ZeroDivisionError), run_lock.running(settings):
        1 / 0  # noqa: B018
    published = read_state(open_state(settings))
    assert published is not None
    assert (published.initial_sync_finished, published.clients, published.plan) == (False, [], None)
    assert settings.published_file.stat().st_mode & 0o077 == 0


def test_a_damaged_publication_is_an_error_and_not_an_empty_one(settings: Settings) -> None:
    with run_lock.running(settings):
        pass
    settings.published_file.write_bytes(b'{"at": "2026')
    with pytest.raises(PipelineError, match="cannot be read"):
        read_state(open_state(settings))
