"""Names of tables, commands and options are made of words of ``docs/glossary.md``; a class name means one thing."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from bms_pipeline.cli import app
from bms_pipeline.warehouse.connection import Warehouse

ROOT = Path(__file__).parents[2]
GLOSSARY = ROOT / "docs" / "glossary.md"

PLAIN = (
    {"all", "apply", "as", "by", "csv", "end", "html", "id", "in", "json", "name", "no", "of", "open", "port", "set"}
    | {"sign", "size", "test", "to", "url", "wait", "why", "yes"}
    | {"dagster", "dev", "host", "mutate", "ui", "workspace"}  # Dagster's, a web server's, a sandbox's
)
"""Words in names that no glossary has to explain."""


def explained() -> set[str]:
    """The words in the first column of the glossary's tables."""
    cells = re.findall(r"^\| ([^|]+) \|", GLOSSARY.read_text(encoding="utf-8"), re.MULTILINE)
    return {word for cell in cells for word in re.findall(r"[a-z]+", cell.lower())}


def unexplained(names: list[str]) -> dict[str, list[str]]:
    """Return the words that neither the glossary nor ``PLAIN`` has, each with the names it is in."""
    known = explained() | PLAIN
    found: dict[str, list[str]] = defaultdict(list)
    for name in names:
        for word in words(name):
            if known.isdisjoint({word, word.removesuffix("s"), word.removesuffix("es"), word.removesuffix("d")}):
                found[word].append(name)
    return dict(found)


def words(name: str) -> list[str]:
    """The words of the last part of a name: ``auto`` and ``match`` of ``bms-pipeline auto-match``."""
    return re.findall(r"[a-z]+", re.split(r"[ .]", name)[-1])


def commands() -> list[str]:
    """Every command and every long option."""
    return list(commands_and_options(cast("TyperGroup", get_command(app.app)), "bms-pipeline"))


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The tables of schema ``sync`` in a new database."""
    with Warehouse(tmp_path_factory.mktemp("home") / "warehouse.duckdb").transaction() as connection:
        rows = connection.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'sync' ORDER BY table_name"
        ).fetchall()
    return [f"sync.{name}" for (name,) in rows]


def commands_and_options(group: TyperGroup, path: str) -> Iterator[str]:
    """Every command of ``group`` and every long option, but the hidden ones: ``settings set --json``."""
    for verb, command in group.commands.items():
        if not command.hidden:
            yield f"{path} {verb}"
            for parameter in command.params:
                if not getattr(parameter, "hidden", False):
                    names = (*parameter.opts, *parameter.secondary_opts)
                    yield from (f"{path} {verb} {name}" for name in names if name.startswith("--"))
            if isinstance(command, TyperGroup):
                yield from commands_and_options(command, f"{path} {verb}")


def test_every_table_is_named_by_words_of_the_glossary(tables: list[str]) -> None:
    assert len(tables) > 20
    assert unexplained(tables) == {}, "Explain the word in docs/glossary.md"


def test_every_command_and_option_is_named_by_words_of_the_glossary() -> None:
    assert len(commands()) > 100
    assert unexplained(commands()) == {}, "Explain the word in docs/glossary.md"


def test_no_word_is_excused_in_vain(tables: list[str]) -> None:
    used = {word for name in (*tables, *commands()) for word in words(name)}
    assert sorted(PLAIN - used) == [], "Take these out of PLAIN"
    assert sorted(PLAIN & explained()) == [], "The glossary explains them: take them out of PLAIN"


def test_a_word_is_explained_once() -> None:
    cells = re.findall(r"^\| ([^|]+) \|", GLOSSARY.read_text(encoding="utf-8"), re.MULTILINE)
    terms = [term.strip() for cell in cells if cell != "word" for term in cell.split(",")]
    assert sorted({term for term in terms if terms.count(term) > 1 and term != "---"}) == []


def test_a_public_class_name_means_one_thing() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for file in sorted((ROOT / "bms_pipeline").rglob("*.py")):
        for statement in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(statement, ast.ClassDef) and not statement.name.startswith("_"):
                places[statement.name].append(file.relative_to(ROOT).as_posix())
    several = {name: files for name, files in places.items() if len(files) > 1}
    assert several == {}, "Two classes of one name"
