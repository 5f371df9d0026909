"""Days out of stamps: a date of BMS is the day on which it falls in the tenant's time zone.

BMS sends a date as a stamp. Where that has a time of day, its first ten characters may be the day before or after:
2026-03-31T22:00:00Z is 1 April in Vienna. ``doctor`` sees the tenant's zone, and whether stamps without a zone are UTC.
"""

from __future__ import annotations

import duckdb

from bms_pipeline.warehouse import sql
from bms_pipeline.warehouse.facts import read_facts

ZONE = "BMS-ZONE"
"""The fact about the tenant's time zone, as an Olson name where BMS sends one."""
UTC = "BMS-UTC"
"""The fact about the zone of stamps that name none."""


def define_local_day(connection: duckdb.DuckDBPyConnection) -> None:
    """Define the SQL macro ``local_day(stamp)``, by the facts known now; without a known zone, the day as written."""
    facts = read_facts(connection)
    zone = facts[ZONE].value if ZONE in facts else ""
    known = connection.execute("FROM pg_timezone_names() WHERE name = ?", [zone]).fetchone() is not None
    is_utc = UTC in facts and facts[UTC].value == "UTC"
    connection.execute(
        sql.read("warehouse/local_day").format(
            zone=sql.quoted(zone if known else "UTC"), is_known=str(known).lower(), is_utc=str(is_utc).lower()
        )
    )
