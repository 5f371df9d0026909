"""How little a command imports before it does anything, and that `--help` still shows every name that scripts use."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from bms_pipeline.cli import app
from bms_pipeline.warehouse.binding import without_pandas

HEAVY = {"dagster", "duckdb", "jinja2", "numpy", "pandas", "pydantic", "requests", "sklearn", "starlette"}
NAMES = Path(__file__).with_name("command_line.txt")
PROGRAM = """
import sys
from bms_pipeline.cli import app
sys.argv = ["bms-pipeline", *sys.argv[1:]]
try:
    app.main()
finally:
    print("imported:", *sys.modules, file=sys.stderr)
"""


def imported(home: Path, *arguments: str) -> set[str]:
    """What a process has imported that ran this command on ``home``."""
    environment = {**os.environ, "BMS_PIPELINE_HOME": str(home)}
    command = [sys.executable, "-c", PROGRAM, *arguments]
    ran = subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, timeout=240, check=False)
    *_, last = ran.stderr.splitlines()
    assert last.startswith("imported:"), ran.stderr
    return set(last.split()[1:])


@pytest.mark.parametrize("arguments", [("--help",), (), ("--version-of-nothing",)])
def test_help_imports_no_library_that_it_does_not_use(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert imported(tmp_path, *arguments) & HEAVY == set()


@pytest.mark.parametrize("arguments", [("sync", "--help"), ("settings", "set", "--help"), ("snyc",), ("explain", "x")])
def test_what_ends_before_a_command_begins_imports_only_what_typer_does(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    assert imported(tmp_path, *arguments) & HEAVY <= {"pydantic"}, "Typer reads arguments with it"


def test_status_imports_no_library_for_calls_pages_or_tables(tmp_path: Path) -> None:
    assert imported(tmp_path, "status") & HEAVY == {"duckdb", "numpy", "pydantic"}


def test_the_command_line_has_every_name_that_scripts_rely_on() -> None:
    """Lines of ``command_line.txt``: a command with its arguments and options. A name that goes breaks scripts."""
    root = get_command(app.app)
    assert isinstance(root, TyperGroup)
    assert "\n".join(lines(root, "bms-pipeline")) + "\n" == NAMES.read_text(encoding="utf-8")


def lines(group: TyperGroup, name: str) -> Iterator[str]:
    """A line for ``group`` with its options, and for each of its commands."""
    yield named(group, name)
    for verb, command in sorted(group.commands.items()):
        if isinstance(command, TyperGroup):
            yield from lines(command, f"{name} {verb}")
        else:
            assert isinstance(command, TyperCommand)
            yield named(command, f"{name} {verb}")


def named(command: TyperCommand | TyperGroup, name: str) -> str:
    """The command with its arguments and options."""
    return " ".join(
        [name, *(part for parameter in command.params for part in (*parameter.opts, *parameter.secondary_opts))]
    )


def test_duckdb_binds_values_without_pandas_and_finds_it_again_afterwards() -> None:
    program = """
import sys
import duckdb
from bms_pipeline.warehouse.binding import without_pandas
with without_pandas():
    assert duckdb.execute("SELECT ?, ?, ?", [1, "Łódź", [1, 2]]).fetchall() == [(1, "Łódź", [1, 2])]
assert "pandas" not in sys.modules
assert duckdb.execute("SELECT ?", [1]).df().iloc[0, 0] == 1
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=240)


def test_where_pandas_is_imported_already_it_stays() -> None:
    import pandas as pd

    with without_pandas():
        assert sys.modules["pandas"] is pd
        assert duckdb.execute("SELECT ?", [1]).fetchall() == [(1,)]
    assert sys.modules["pandas"] is pd
