"""Version counters of a plan's inputs: each goes up when its input changes. They show whether a plan is stale.

A result from the same inputs is not made again: a landing from the same pages, a reconciliation from the same records
and decisions. ``sync.made_from`` holds the inputs of each result. Both change in the transaction that changes the
result, so they are true after a crash as well.

Each table that a statement names costs round trips in a lake, so there are two questions::

    read_versions   3 tables: what landings rest on
    read_inputs    10 tables: what reconcile and plan rest on
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import duckdb

from bms_pipeline.core.entities import Entity
from bms_pipeline.warehouse import sql

OF_LOADS = "loaded."
"""Inputs of this kind change with each load. This does not make a loaded plan stale."""

_RULES = ("reconcile", "plan", "warehouse", "core/entities.py", "core/junk.py", "core/mapping.py")
"""The parts of this program that decide which result follows from the same inputs."""


def bump_version(connection: duckdb.DuckDBPyConnection, name: str, now: datetime) -> None:
    """Count up a changed input of the plan: ``bms.clients``, ``passportal.users``, ``settings``, ..."""
    connection.execute(
        "MERGE INTO sync.input_versions USING (SELECT $name AS name) AS changed USING (name)"
        " WHEN MATCHED THEN UPDATE SET version = sync.input_versions.version + 1, changed_at = $now"
        " WHEN NOT MATCHED THEN INSERT VALUES (changed.name, 1, $now)",
        {"name": name, "now": now},
    )


def has_version(connection: duckdb.DuckDBPyConnection, name: str) -> bool:
    """Return whether the input was ever read or changed."""
    return connection.execute("FROM sync.input_versions WHERE name = ?", [name]).fetchone() is not None


@dataclass(frozen=True)
class Versions:
    """The inputs of landings at one moment: name → state. ``made_from``: name of a result → its inputs."""

    states: dict[str, str]
    made_from: dict[str, str]
    results: dict[str, Any]

    def versions(self, names: Iterable[str]) -> dict[str, str | None]:
        """Return the states of these inputs; None for one that never changed."""
        return {name: self.states.get(name) for name in names}

    def is_made_from(self, name: str, inputs: str) -> bool:
        """Return whether the result ``name`` exists and was made from exactly these inputs."""
        return self.made_from.get(name) == inputs


@dataclass(frozen=True)
class Inputs(Versions):
    """Every input at one moment."""

    def of(self, entity: Entity) -> str:
        """Return the inputs for the records of ``entity``: its own, those of clients, and those of everything."""
        about = {entity.name, "clients"}
        return json.dumps(
            {
                "rules": rules(),
                **{
                    name: state
                    for name, state in sorted(self.states.items())
                    if "." not in name or name == "bms.account_types" or name.partition(".")[2] in about
                },
            }
        )


def read_versions(connection: duckdb.DuckDBPyConnection) -> Versions:
    """Read the inputs of landings, and the inputs of each result; one statement."""
    return _read(connection, sql.read("warehouse/versions"))


def read_inputs(connection: duckdb.DuckDBPyConnection) -> Inputs:
    """Read every input, and the inputs of each result; one statement."""
    found = _read(connection, f"{sql.read('warehouse/versions')} UNION ALL ({sql.read('warehouse/inputs')})")
    return Inputs(found.states, found.made_from, found.results)


def _read(connection: duckdb.DuckDBPyConnection, query: str) -> Versions:
    found = Versions({}, {}, {})
    for kind, name, state, result in connection.execute(query).fetchall():
        if kind == "input":
            found.states[name] = state
        else:
            found.made_from[name] = state
            found.results[name] = json.loads(result) if result else None
    return found


def note_made_from(connection: duckdb.DuckDBPyConnection, name: str, inputs: str, result: object = None) -> None:
    """Store the inputs of the result ``name``. Call it in the transaction that made it."""
    forget_results(connection, [name])
    add_made_from(connection, name, inputs, result)


def add_made_from(connection: duckdb.DuckDBPyConnection, name: str, inputs: str, result: object = None) -> None:
    """Store the inputs of the result ``name``, which was forgotten in this transaction."""
    connection.execute("INSERT INTO sync.made_from VALUES (?, ?, ?)", [name, inputs, json.dumps(result)])


def forget_results(connection: duckdb.DuckDBPyConnection, names: Collection[str]) -> None:
    """Forget the inputs of these results, to have them made again."""
    connection.execute("DELETE FROM sync.made_from WHERE name IN (SELECT unnest($names))", {"names": list(names)})


@functools.cache
def rules() -> str:
    """Return a digest of the rules themselves: another version of this program may reach another result."""
    found = hashlib.md5(duckdb.__version__.encode(), usedforsecurity=False)
    package = resources.files("bms_pipeline")
    for part in _RULES:
        for file in _texts(package.joinpath(part)):
            found.update(file.read_bytes())
    return found.hexdigest()


def _texts(place: Traversable) -> list[Traversable]:
    """Return the program's texts in ``place``, in the same order each time."""
    if place.is_file():
        return [place] if place.name.endswith((".py", ".sql")) else []
    return [text for part in sorted(place.iterdir(), key=lambda part: part.name) for text in _texts(part)]


def digest(files: Iterable[Path]) -> str:
    """Return a digest of the names and contents of ``files``."""
    found = hashlib.blake2b(digest_size=16)
    for file in sorted(files):
        content = file.read_bytes()
        found.update(f"{file.name} {len(content)} ".encode())
        found.update(content)
    return found.hexdigest()
