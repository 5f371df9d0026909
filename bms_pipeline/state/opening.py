"""The choice of where the state lies, made once for a process."""

from __future__ import annotations

import functools

from bms_pipeline.core.errors import SettingsError
from bms_pipeline.core.settings import Settings
from bms_pipeline.state.folder import FolderState
from bms_pipeline.state.protocol import StateStore


def open_state(settings: Settings) -> StateStore:
    """Return the state of these settings: in the home folder, unless ``BMS_PIPELINE_STATE`` names a PostgreSQL.

    Opens nothing yet. Raises ``SettingsError`` where that is no address, or the extra ``scale`` is not installed.
    """
    address = settings.bms_pipeline_state.get_secret_value()
    return _in_postgres(address, settings.bms_pipeline_name) if address else FolderState(settings)


@functools.cache
def _in_postgres(address: str, tenant: str) -> StateStore:
    # Without the setting nobody waits for these imports, and nobody needs the extra.
    try:
        from bms_pipeline.state.address import read_address
        from bms_pipeline.state.postgres import PostgresState
    except ImportError as error:
        raise SettingsError(
            f"BMS_PIPELINE_STATE is set, and {error.name or 'psycopg'} cannot be imported.",
            "Install the extra: pip install 'bms_pipeline[scale]'.",
        ) from error
    return PostgresState(read_address(address), tenant)
