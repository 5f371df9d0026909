"""Account types and asset categories that people chose by name keep BMS's id, so a rename in BMS loses nothing.

The ids are noted when the choice is stored, and before each landing: then BMS's former names are still there. What has
a chosen name, or the id of one, is in scope.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import duckdb

from bms_pipeline.reconcile.sync_settings import SyncSettings, read_sync_settings, store_sync_setting
from bms_pipeline.warehouse import sql

CHOSEN = {"account_types": "account", "asset_categories": "asset"}
"""Setting with chosen names → what has such a name."""


def note_scope_ids(connection: duckdb.DuckDBPyConnection, now: datetime) -> None:
    """Store the ids of the chosen names that have none yet, and forget those of names no longer chosen."""
    settings = read_sync_settings(connection)
    chosen = {setting: [name.lower() for name in getattr(settings, setting) or ()] for setting in CHOSEN}
    if not any(chosen.values()) and not settings.scope_ids:
        return
    known = {
        setting: {name: ids for name, ids in settings.scope_ids.get(setting, {}).items() if name in names}
        for setting, names in chosen.items()
    }
    for setting, name, ids in connection.execute(sql.read("reconcile/ids_of_names"), chosen).fetchall():
        known[setting].setdefault(name, ids)
    noted = {setting: ids for setting, ids in known.items() if ids}
    if noted != settings.scope_ids:
        store_sync_setting(connection, "scope_ids", noted, now)


def scope_warnings(connection: duckdb.DuckDBPyConnection, settings: SyncSettings) -> Iterator[str]:
    """Yield a sentence for each chosen name that no record has, and for each that BMS calls otherwise now."""
    rows = connection.execute(sql.read("reconcile/names_of_ids")).fetchall()
    for setting, what in CHOSEN.items():
        present = [(id_, name or "", records) for kind, id_, name, records in rows if kind == setting]
        if not present:
            continue  # nothing was read so far
        for chosen in getattr(settings, setting) or ():
            ids = settings.scope_ids.get(setting, {}).get(chosen.lower(), [])
            found = [row for row in present if row[1].lower() == chosen.lower() or row[0] in ids]
            others = sorted({name for _, name, records in found if records and name.lower() != chosen.lower()})
            if not sum(records for _, _, records in found):
                yield (
                    f"{setting}: no {what} in BMS has {chosen!r}. Was it renamed? `bms-pipeline settings set"
                    f" {setting}=...` takes the present names."
                )
            elif others:
                now = ", ".join(map(repr, others))
                yield f"{setting}: BMS calls {chosen!r} {now} now; it stays in scope by its id."
