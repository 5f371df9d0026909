"""Tables at any width of the terminal: no line is longer, and no word is cut in its middle."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from bms_pipeline.cli import output
from bms_pipeline_tests.cli.terminal import on_terminal
from bms_pipeline_tests.running import Home, running_home

WORDS = st.text(st.sampled_from("abcWÄ字_-."), min_size=1, max_size=24)
TEXTS = st.lists(WORDS, max_size=6).map(" ".join)


def printed(columns: Sequence[str], rows: Sequence[Sequence[object]], width: int) -> list[str]:
    file = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(output, "out", Console(file=file, width=width))
        output.print_table("Title", columns, rows, numbers=columns[1:2])
    return file.getvalue().splitlines()


@given(st.data(), st.integers(1, 6), st.integers(30, 120))
def test_a_table_fits_and_keeps_its_words_whole(data: st.DataObject, columns: int, width: int) -> None:
    rows = data.draw(st.lists(st.lists(TEXTS, min_size=columns, max_size=columns), min_size=1, max_size=4))
    names = [f"name{number}" for number in range(columns)]
    lines = printed(names, rows, width)
    shown = [word for line in lines for word in line.replace("│", " ").replace("┃", " ").split()]
    for word in (word for row in rows for text in row for word in text.split()):
        assert word in shown
    if "┃" in "".join(lines):
        assert max(map(cell_len, lines)) <= width


def test_moments_numbers_and_nothing_are_shown_short() -> None:
    (row,) = [
        line
        for line in printed(("at", "n", "why", "yes"), [(datetime(2027, 1, 2, 3, 4, 5, 678), 12345, None, True)], 80)
        if line.startswith("│")
    ]
    assert [cell.strip() for cell in row.strip("│").split("│")] == ["2027-01-02 03:04", "12,345", "", "True"]


def test_what_cannot_be_a_table_becomes_blocks_with_every_value() -> None:
    lines = printed(("file", "made", "state"), [("a" * 25, "2027", "good"), ("b" * 25, "", "bad")], 30)
    assert lines == ["Title", "a" * 25, "  made   2027", "  state  good", "b" * 25, "  state  bad"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home after a first sync, a change in BMS, decisions, changed settings, a load and an undo."""
    with running_home(tmp_path_factory.mktemp("tables")) as home:
        assert home.call("sync", "--create-unmatched").returncode == 0
        home.sandbox.mutate(1)
        assert home.call("sync").returncode in {0, 2}
        waiting = home.warehouse("SELECT bms_id FROM sync.reconciled_clients WHERE disposition = 'ambiguous' LIMIT 1")
        note = "a note with several words in it, as people write them"
        assert home.call("exclude", "clients", str(waiting[0][0]), "--why", note).returncode == 0
        assert home.call("settings", "set", "auto_create.users=on", "--why", note).returncode == 0
        return home


@pytest.mark.parametrize(
    "command",
    ["status", "preview --saved", "decisions", "orphans", "undo", "settings", "settings history", "backups",
     "duplicates", "pending-imports"],
)  # fmt: skip
def test_every_table_of_a_synced_home_fits_80_columns(home: Home, command: str) -> None:
    ran = on_terminal(command.split(), home.environment, home.folder)
    assert ran.code in {0, 2}, ran.written
    tables = [line for line in ran.screen if line[:1] in set("┏┃┡│├└")]
    assert all(cell_len(line) <= 80 for line in tables)
    assert all(line[-1] in "┓┃┩│┤┘" for line in tables), "no line of a table is cut"
    ids = home.warehouse("SELECT DISTINCT coalesce(reason, '') FROM sync.reconciled_assets")
    if command == "preview --saved":
        shown = {word for line in ran.screen for word in line.split()}
        assert {reason for (reason,) in ids if reason} & shown
