"""A date of BMS is the day in the tenant's time zone, where that is known and the stamp has a time of day."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest

from bms_pipeline.warehouse.days import UTC, ZONE, define_local_day

VIENNA, NEW_YORK = "Europe/Vienna", "America/New_York"


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    """A database that has nothing but facts."""
    with duckdb.connect() as connection:
        connection.execute("CREATE SCHEMA sync")
        connection.execute("CREATE TABLE sync.facts (name VARCHAR, value VARCHAR, how VARCHAR, seen_at TIMESTAMP)")
        connection.execute("SET TimeZone = 'Asia/Tokyo'")  # this machine's own zone means nothing
        yield connection


@pytest.mark.parametrize(
    ("zone", "stamps_in", "stamp", "day"),
    [
        (VIENNA, "", "2026-03-31T22:00:00Z", "2026-04-01"),
        (VIENNA, "", "2026-12-31T23:00:00Z", "2027-01-01"),  # winter time
        (VIENNA, "", "2026-12-31T22:00:00Z", "2026-12-31"),
        (VIENNA, "", "2026-03-31T22:00:00.0000000Z", "2026-04-01"),
        (VIENNA, "", "2026-04-01T00:00:00+02:00", "2026-04-01"),
        (VIENNA, "", "2026-03-31T23:30:00+00:00", "2026-04-01"),
        (NEW_YORK, "", "2026-04-01T04:00:00Z", "2026-04-01"),
        (NEW_YORK, "", "2026-04-01T03:59:59Z", "2026-03-31"),
        # A stamp without a time of day is that day everywhere.
        (NEW_YORK, "UTC", "2026-04-01T00:00:00Z", "2026-04-01"),
        (NEW_YORK, "UTC", "2026-04-01T00:00:00", "2026-04-01"),
        # A stamp that names no zone: only where it was seen to be in UTC.
        (VIENNA, "UTC", "2026-03-31T22:00:00", "2026-04-01"),
        (VIENNA, "", "2026-03-31T22:00:00", "2026-03-31"),
        (VIENNA, "the tenant's time zone", "2026-03-31T22:00:00", "2026-03-31"),
        # Without the fact, or with a zone that nobody knows by this name: as it is written.
        ("", "UTC", "2026-03-31T22:00:00Z", "2026-03-31"),
        ("W. Europe Standard Time", "UTC", "2026-03-31T22:00:00Z", "2026-03-31"),
        # What is no stamp.
        (VIENNA, "UTC", "last spring", "last spring"),
        (VIENNA, "UTC", "2026-03-31", "2026-03-31"),
        (VIENNA, "UTC", "2026-02-31T22:00:00Z", "2026-02-31"),
        (VIENNA, "UTC", "0001-01-01T00:00:00", None),
        (VIENNA, "UTC", "0001-01-01T00:00:00Z", None),
        (VIENNA, "UTC", None, None),
    ],
)
def test_a_stamp_is_the_day_in_the_tenants_zone(
    connection: duckdb.DuckDBPyConnection, zone: str, stamps_in: str, stamp: str | None, day: str | None
) -> None:
    for name, value in ((ZONE, zone), (UTC, stamps_in)):
        if value:
            connection.execute("INSERT INTO sync.facts VALUES (?, ?, 'seen', now()::TIMESTAMP)", [name, value])
    define_local_day(connection)
    assert connection.execute("SELECT local_day(?::VARCHAR)", [stamp]).fetchone() == (day,)
