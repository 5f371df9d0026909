"""The verb that reads details, where there is nothing to read: whom it waits for, and what it leaves alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bms_pipeline.core.errors import RunLocked
from bms_pipeline.core.settings import Settings
from bms_pipeline.reports import figures
from bms_pipeline.state.opening import open_state
from bms_pipeline.state.protocol import LockName
from bms_pipeline.sync import fetch_details, run_lock
from bms_pipeline.sync.enrichment import DetailsRead
from bms_pipeline.warehouse.connection import now, open_warehouse
from bms_pipeline_tests.building import new_warehouse


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings(_env_file=None, bms_pipeline_home=tmp_path / "home")  # type: ignore[call-arg]
    new_warehouse(settings.warehouse_file)
    return settings


def test_where_nothing_waits_nobody_is_called(settings: Settings) -> None:
    assert not settings.bms_url
    assert fetch_details.read_details(settings) == DetailsRead(0, 0, 0, 1500, 1500)
    shown = figures.status(settings, open_warehouse(settings)).details
    assert (shown.wanted, shown.waiting, shown.finished) == (0, 0, "nothing waits")


def test_only_one_run_reads_details_and_it_waits_for_no_other(settings: Settings) -> None:
    with run_lock.running(settings):
        fetch_details.read_details(settings)
    with (
        open_state(settings).locked(LockName.DETAILS, "A run that reads details", now()),
        pytest.raises(RunLocked, match=rf"A run that reads details \(process {os.getpid()}, since"),
    ):
        fetch_details.read_details(settings)
