"""The longer statements, each in a file named for the question that it answers."""

from __future__ import annotations

from functools import cache
from importlib import resources


@cache
def read(name: str) -> str:
    """The text of ``<name>.sql``, with ``{placeholders}`` for what ``entities`` declares."""
    return resources.files(__package__).joinpath(f"{name}.sql").read_text(encoding="utf-8")


def quoted(text: str) -> str:
    """``text`` as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"
