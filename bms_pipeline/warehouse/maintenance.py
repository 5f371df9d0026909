"""The maintenance of a lake: it writes tables of many small files again, and removes what nobody reads any more.

DuckLake's own ``merge_adjacent_files`` is not used. It does not notice a write at the same time, and then rows come
back (measured: in 36 of 36 tries). A table is written again like any other write, so the fence holds for it, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from bms_pipeline.warehouse import sql
from bms_pipeline.warehouse.relations import temporary

if TYPE_CHECKING:
    from bms_pipeline.warehouse.lake import LakeWarehouse

MOST_FILES = 8
"""A table of more files than this is written again."""
KEPT = timedelta(days=7)
"""How long the earlier states of the tables can be read."""
UNUSED = timedelta(days=1)
"""How long files stay that no state needs: a statement that began before may still read them."""


@dataclass(frozen=True)
class Maintained:
    """The tables written again, the snapshots and the files removed."""

    tables: int
    snapshots: int
    files: int


def maintain(warehouse: LakeWarehouse, now: datetime, kept: timedelta = KEPT, unused: timedelta = UNUSED) -> Maintained:
    """Do the maintenance. Call it under the run lock; killed anywhere, it leaves nothing that the next one minds."""
    with warehouse.transaction():
        pass  # the lease is still this run's
    with warehouse.open() as connection:
        # Rows that were changed in PostgreSQL stay there until this.
        connection.execute(f"CALL ducklake_flush_inlined_data('{warehouse.lake.name}')")
    tables = _tables_of_many_files(warehouse)
    for table in tables:
        with warehouse.transaction() as connection, temporary(connection, "rewritten", f"FROM {table}") as rows:
            connection.execute(f"DELETE FROM {table}")
            connection.execute(f"INSERT INTO {table} FROM {rows}")
    snapshots = _call(warehouse, "ducklake_expire_snapshots", now - kept)
    files = _call(warehouse, "ducklake_cleanup_old_files", now - unused)
    files += _call(warehouse, "ducklake_delete_orphaned_files", now - unused)
    return Maintained(len(tables), snapshots, files)


def _tables_of_many_files(warehouse: LakeWarehouse) -> list[str]:
    query = sql.read("warehouse/many_files").format(schema=warehouse.lake.schema, most=MOST_FILES)
    with warehouse.lake.session() as session:
        return [row[0] for row in session.execute(query).fetchall()]


def _call(warehouse: LakeWarehouse, function: str, older_than: datetime) -> int:
    """Call one of DuckLake's functions; return the number of removed things."""
    moment = older_than.replace(tzinfo=UTC).isoformat()
    with warehouse.open() as connection:
        query = f"CALL {function}('{warehouse.lake.name}', older_than => TIMESTAMPTZ '{moment}')"
        return len(connection.execute(query).fetchall())
