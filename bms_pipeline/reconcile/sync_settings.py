"""The settings that people revisit: toggles per entity, breakers, and whether the initial sync is finished.

They live in the warehouse (``sync.settings``) and not in the environment, because they change while it runs.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

import duckdb

from bms_pipeline.entities import ENTITIES, EntityName
from bms_pipeline.warehouse.landing import count_input

# The vendor's page has auto-create toggles for clients, users and configurations, off until somebody wants them;
# contacts and locations have none there and are created while their sync is on.
_AUTO_CREATE = {each.name: each.name in ("contacts", "locations") for each in ENTITIES}


@dataclass(frozen=True)
class SyncSettings:
    """What is synced and what may be created without a person.

    ``update_share``: the share of an entity's matched records above which a load after the initial sync stops.
    """

    sync: dict[EntityName, bool] = field(default_factory=lambda: dict.fromkeys(_AUTO_CREATE, True))
    auto_create: dict[EntityName, bool] = field(default_factory=lambda: dict(_AUTO_CREATE))
    update_share: float = 0.20
    initial_sync_finished_at: str | None = None

    @property
    def initial_sync_finished(self) -> bool:
        """Whether the first finish has happened, so that the auto-create rules apply."""
        return self.initial_sync_finished_at is not None


def read_sync_settings(connection: duckdb.DuckDBPyConnection) -> SyncSettings:
    """The stored settings over the defaults."""
    stored: dict[str, Any] = {
        name: json.loads(value)
        for name, value in connection.execute("SELECT name, value FROM sync.settings").fetchall()
    }
    known = {each: stored[each] for each in asdict(SyncSettings()) if each in stored}
    return replace(SyncSettings(), **known)


def store_sync_setting(connection: duckdb.DuckDBPyConnection, name: str, value: object, now: datetime) -> None:
    """Store one setting; a plan made before becomes stale."""
    connection.execute("DELETE FROM sync.settings WHERE name = ?", [name])
    connection.execute("INSERT INTO sync.settings VALUES (?, ?, ?)", [name, json.dumps(value), now])
    count_input(connection, "settings")
