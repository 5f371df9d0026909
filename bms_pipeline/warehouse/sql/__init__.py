"""The longer statements, each in a file named for the question that it answers."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from pathlib import Path


@cache
def read(name: str) -> str:
    """The text of ``<name>.sql``, with ``{placeholders}`` for what ``entities`` declares."""
    return resources.files(__package__).joinpath(f"{name}.sql").read_text(encoding="utf-8")


def quoted(text: str) -> str:
    """``text`` as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def readable(path: Path, names: str = "") -> str:
    """``path`` as an SQL literal for DuckDB's readers, which take every path for a pattern.

    ``names``: a pattern of the files to read inside it. What only looks like a pattern in ``path`` is none, so a home
    folder may be called ``sync [new]``.
    """
    literal = re.sub(r"[\[*?]", r"[\g<0>]", str(path))
    return quoted(f"{literal}/{names}" if names else literal)


def guarded(column: str) -> str:
    """SQL: ``column`` with an apostrophe before whatever a spreadsheet may take for a formula."""
    text = f"replace({column}, chr(0), chr(65533))"
    is_formula = rf"regexp_matches({column}, '^[\s\p{{Z}}\p{{Cc}}\p{{Cf}}]*[-=+@＝＋－＠]|^[ ]*[\t\r]')"
    return f"CASE WHEN {is_formula} THEN '''' || {text} ELSE {text} END"
