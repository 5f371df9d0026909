"""Snapshots of records other than documents: the rows read, and the users of an exported file."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

from bms_pipeline.core.entities import Entity
from bms_pipeline.core.errors import SettingsError
from bms_pipeline.warehouse import sql
from bms_pipeline.warehouse.connection import connect

USER_ID = "Passportal ID"
_USER_COLUMNS = {"first_name": "First Name", "last_name": "Last Name", "email": "Email"}


def write_snapshot(entity: Entity, file: Path, rows: Iterable[Mapping[str, str | None]]) -> None:
    """Write rows (column → text) to the Parquet ``file``; see ``Target.snapshot``. A missing column is NULL."""
    found = list(rows)
    texts = ("passportal_id", "client_id", *entity.columns)
    columns = ", ".join(f"unnest($c{number}::VARCHAR[]) AS {column}" for number, column in enumerate(texts))
    file.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(connect(Path(":memory:"))) as connection:
        connection.execute(
            "COPY (SELECT *, NULL::BIGINT AS bms_id, NULL::VARCHAR AS last_modified"
            f" FROM (SELECT {columns}))"
            f" TO {sql.quoted(str(file))} (FORMAT parquet)",
            {f"c{number}": [row.get(column) for row in found] for number, column in enumerate(texts)},
        )


def users_in(file: Path, name: str = "") -> list[dict[str, str | None]]:
    """Return the users of a CSV file exported from Passportal; its headers name the columns.

    ``name``: how errors call the file, if not by its path. Raises ``SettingsError`` with the fault and its place.
    """
    name = name or f"PASSPORTAL_USERS_FILE ({file})"
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            return _users(name, csv.reader(lines, strict=True))
    except OSError as error:
        raise _wrong(name, f"cannot be read: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError as error:
        raise _wrong(name, f"is not UTF-8 text (byte {error.start:,})") from None
    except csv.Error as error:
        raise _wrong(name, f"is no CSV file: {error}") from None


def _users(file: str, lines: Iterable[list[str]]) -> list[dict[str, str | None]]:
    reader = iter(lines)
    header = [cell.strip() for cell in next(reader, [])]
    missing = [column for column in (USER_ID, *_USER_COLUMNS.values()) if header.count(column) != 1]
    if missing:
        raise _wrong(file, f"has no column {', '.join(map(repr, missing))} in its first line, or has it twice")
    users: dict[str, dict[str, str | None]] = {}
    for number, cells in enumerate(reader, 2):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            raise _wrong(file, f"has {len(cells)} cells in row {number} instead of {len(header)}")
        row = dict(zip(header, cells, strict=True))
        user_id = row[USER_ID].strip()
        if not user_id or user_id in users:
            raise _wrong(file, f"has {'a user twice' if user_id else 'no Passportal ID'} in row {number}")
        values: dict[str, str | None] = {column: row[name].strip() or None for column, name in _USER_COLUMNS.items()}
        name = " ".join(part for part in (values["first_name"], values["last_name"]) if part)
        users[user_id] = {"passportal_id": user_id, "name": name, **values}
    return list(users.values())


def _wrong(file: str, what: str) -> SettingsError:
    return SettingsError(
        f"{file} {what}.",
        "Export the users again in Passportal (Settings > Import / Export) and name that file.",
    )
