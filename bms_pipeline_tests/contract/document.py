"""The vendor's facts as a test asks for them: which operations there are, and what a schema allows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

_FILE = Path(__file__).with_name("bms_openapi.json")


@lru_cache(maxsize=1)
def document() -> dict[str, Any]:
    contract: dict[str, Any] = json.loads(_FILE.read_text("utf-8"))
    return contract


def operation(method: str, path: str) -> dict[str, Any]:
    """The operation, whatever the case of its path."""
    found = {name.casefold(): each for name, each in document()["operations"].items()}
    facts: dict[str, Any] = found[f"{method} {path}".casefold()]
    return facts


def schema(name: str) -> dict[str, str]:
    """Field → type of a schema."""
    fields: dict[str, str] = document()["schemas"][name]
    return fields


def on_the_wire(name: str) -> str:
    """The camelCase that .NET makes of a name: ``IPAddress`` → ``ipAddress``, ``SLAId`` → ``slaId``."""
    letters = list(name)
    for position, letter in enumerate(letters):
        last_of_capitals = position + 1 < len(letters) and not letters[position + 1].isupper()
        if not letter.isupper() or (position > 0 and last_of_capitals):
            break
        letters[position] = letter.lower()
    return "".join(letters)


def violations(value: Any, kind: str, where: str = "$") -> Iterator[str]:
    """Everything in which ``value`` is not what the vendor's type ``kind`` allows."""
    bare = kind.removesuffix("?")
    if value is None:
        # A schema by reference cannot be declared nullable in OpenAPI 3.0; ``error`` and ``result`` are.
        if not kind.endswith("?") and bare not in document()["schemas"]:
            yield f"{where}: null, but {kind}"
    elif bare.endswith("[]"):
        if isinstance(value, list):
            for number, each in enumerate(value):
                yield from violations(each, bare.removesuffix("[]"), f"{where}[{number}]")
        else:
            yield f"{where}: {value!r} is no array"
    elif bare in document()["schemas"]:
        yield from _schema_violations(value, bare, where)
    elif not _fits(value, bare):
        yield f"{where}: {value!r} is not {bare}"


def _schema_violations(value: Any, name: str, where: str) -> Iterator[str]:
    fields = {on_the_wire(field): kind for field, kind in schema(name).items()}
    if not isinstance(value, dict):
        yield f"{where}: {value!r} is no object"
        return
    for missing in fields.keys() - value.keys():
        yield f"{where}.{missing}: missing from {name}"
    for key, each in value.items():
        if key in fields:
            yield from violations(each, fields[key], f"{where}.{key}")
        else:
            yield f"{where}.{key}: unknown to {name}"


def _fits(value: Any, kind: str) -> bool:
    base, _, form = kind.partition("/")
    if base == "boolean":
        return isinstance(value, bool)
    if base == "integer":
        limit = 2**31 if form == "int32" else 2**63
        return isinstance(value, int) and not isinstance(value, bool) and -limit <= value < limit
    if base == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, str) and (form != "date-time" or _is_moment(value))


def _is_moment(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return "T" in text
