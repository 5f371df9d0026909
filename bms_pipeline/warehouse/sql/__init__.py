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


def guarded(column: str) -> str:
    """SQL: ``column`` with an apostrophe before whatever a spreadsheet may take for a formula."""
    text = f"replace({column}, chr(0), chr(65533))"
    is_formula = rf"regexp_matches({column}, '^[\s\p{{Z}}\p{{Cc}}\p{{Cf}}]*[-=+@＝＋－＠]|^[ ]*[\t\r]')"
    return f"CASE WHEN {is_formula} THEN '''' || {text} ELSE {text} END"
