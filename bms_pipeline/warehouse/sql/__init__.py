"""The longer statements, each in a file named for the question it answers, in the package that asks it."""

from __future__ import annotations

import atexit
import re
import shutil
import tempfile
from functools import cache
from importlib import resources
from pathlib import Path

_PATTERN = re.compile(r"[*?\[\]\\]")
"""What DuckDB's readers take for a pattern: it may match the files of another folder, too."""


@cache
def read(name: str) -> str:
    """Return the text of ``plan/no_place``: the file ``bms_pipeline/plan/sql/no_place.sql``.

    It has ``{placeholders}`` for what ``entities`` declares.
    """
    package, question = name.split("/")
    return resources.files("bms_pipeline").joinpath(package, "sql", f"{question}.sql").read_text(encoding="utf-8")


def quoted(text: str) -> str:
    """``text`` as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def readable(path: Path) -> str:
    """Return ``path`` as an SQL literal for DuckDB's readers; its last part may be a pattern, and no other is one."""
    return quoted(str(literal(path.parent) / path.name))


def literal(path: Path) -> Path:
    """A path to the same file for DuckDB's readers, where nothing is a pattern.

    It leads through a link in a temporary folder of this process. Attached databases need none: DuckDB takes their
    paths as they are.
    """
    parts = path.absolute().parts
    last = max((place for place, part in enumerate(parts) if _PATTERN.search(part)), default=None)
    return path if last is None else _link_to(Path(*parts[: last + 1])).joinpath(*parts[last + 1 :])


@cache
def _link_to(target: Path) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="bms_pipeline-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    link = folder / "home"
    link.symlink_to(target)
    return link


def escape_formula_sql(column: str) -> str:
    """SQL: ``column`` with an apostrophe before whatever a spreadsheet may take for a formula."""
    text = f"replace({column}, chr(0), chr(65533))"
    is_formula = rf"regexp_matches({column}, '^[\s\p{{Z}}\p{{Cc}}\p{{Cf}}]*[-=+@＝＋－＠]|^[ ]*[\t\r]')"
    return f"CASE WHEN {is_formula} THEN '''' || {text} ELSE {text} END"
