"""What a person does in Passportal's own pages: import clients and users, export users, edit a record.

An import never looks at what is there: each row makes a new record, and the same file again makes them again [D].
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

import msgspec

from bms_sandbox.documents_api.store import Record, Store

CLIENT_COLUMNS = ("Passportal ID", "Client Name", "Phone", "Email")
USER_COLUMNS = ("Passportal ID (BLANK)", "Last Name", "First Name", "Email", "Phone")
EXPORTED_COLUMNS = ("Passportal ID", "Last Name", "First Name", "Email", "Phone")

Cells = Mapping[str, str]


class ImportRefused(ValueError):
    """The file has other columns than Passportal's own, or a row without a name; nothing was imported."""


def import_file(store: Store, entity: str, text: str, now: int) -> int:
    """Take in the CSV ``text`` of clients or users; how many rows it has. Raises ``ImportRefused``."""
    columns, read = {"clients": (CLIENT_COLUMNS, _client), "users": (USER_COLUMNS, _user)}[entity]
    rows = _rows(text.removeprefix("\ufeff"), columns)
    made = [read(cells) for cells in rows]
    for line, record in enumerate(made, 2):
        if not record.title.strip():
            raise ImportRefused(f"Row {line} has no name.")
    for record in made:
        record.id, record.modified = store.new_id(), now
    store.put(made)
    return len(made)


def exported_users(store: Store) -> str:
    """The CSV of all users."""
    file = io.StringIO(newline="")
    rows = csv.DictWriter(file, EXPORTED_COLUMNS, lineterminator="\r\n")
    rows.writeheader()
    for user in store.of_type("user"):
        values = {column: str(user.values.get(column, "")) for column in EXPORTED_COLUMNS[1:]}
        rows.writerow({"Passportal ID": user.id, **values})
    return file.getvalue()


def edit(store: Store, order: Mapping[str, Any], now: int) -> Record:
    """Change the record ``order["id"]`` and leave the rest of it.

    ``order`` may have ``title``, ``description``, ``custom_id``, ``disabled``, and ``details``: label → text, None to
    blank it. Raises ``LookupError`` for a record that is not there, ``ValueError`` for anything else in it.
    """
    changes = {name: value for name, value in order.items() if name not in {"id", "details"}}
    if unknown := set(changes) - {"title", "description", "custom_id", "disabled"}:
        raise ValueError(f"A record has no {', '.join(sorted(unknown))}.")
    held = store.records[int(order["id"])]
    values = {**held.values, **order.get("details", {})}
    edited = msgspec.structs.replace(
        held, **changes, values={label: value for label, value in values.items() if value}, modified=now
    )
    if edited.type == "user" and "title" not in changes:
        edited.title = _full_name(edited.values)
    store.put([edited])
    return edited


def _rows(text: str, columns: tuple[str, ...]) -> list[dict[str, str]]:
    lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    if not lines or tuple(lines[0]) != columns:
        raise ImportRefused(f"The columns must be {', '.join(columns)}.")
    for number, cells in enumerate(lines[1:], 2):
        if len(cells) != len(columns):
            raise ImportRefused(f"Row {number} has {len(cells)} cells instead of {len(columns)}.")
    return [dict(zip(columns, cells, strict=True)) for cells in lines[1:]]


def _client(cells: Cells) -> Record:
    return _record("client", cells["Client Name"], {name: cells[name] for name in ("Phone", "Email")})


def _user(cells: Cells) -> Record:
    return _record("user", _full_name(cells), {name: cells[name] for name in EXPORTED_COLUMNS[1:]})


def _record(kind: str, title: str, values: Mapping[str, str]) -> Record:
    return Record(0, kind, title, 0, {label: text for label, text in values.items() if text})


def _full_name(values: Mapping[str, Any]) -> str:
    return " ".join(str(values[each]) for each in ("First Name", "Last Name") if values.get(each))
