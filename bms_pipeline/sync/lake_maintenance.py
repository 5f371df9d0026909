"""The nightly maintenance of a warehouse without a shared disk, as a run of its own."""

from __future__ import annotations

from bms_pipeline.core.errors import SettingsError
from bms_pipeline.core.run_status import RunName
from bms_pipeline.core.settings import Settings
from bms_pipeline.sync import run_lock
from bms_pipeline.warehouse.connection import now, open_warehouse
from bms_pipeline.warehouse.maintenance import Maintained


def maintain_lake(settings: Settings, name: RunName | str, wait_seconds: float = 0) -> Maintained:
    """Hold the run lock and maintain the lake. Raises ``SettingsError`` where the warehouse is a file."""
    if settings.bms_pipeline_lake:
        with run_lock.running(settings, name, wait_seconds):
            done = open_warehouse(settings).maintain(now())
        if done is not None:
            return done
    raise SettingsError(
        "BMS_PIPELINE_LAKE is not set: the warehouse is a file, which needs no maintenance.",
        "Only a warehouse without a shared disk does: docs/deploy.md says when you want one.",
    )
