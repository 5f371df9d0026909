"""Every command that a text names exists: a "Next:" line that leads nowhere is worse than none."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from typer.core import TyperGroup
from typer.main import get_command

from bms_pipeline.cli import app

ROOT = Path(__file__).parents[2]
TEXTS = [
    file
    for pattern in ("bms_pipeline/**/*.py", "bms_pipeline/**/*.j2", "bms_sandbox/**/*.py", "docs/**/*.md", "README.md")
    for file in sorted(ROOT.glob(pattern))
]
NAMED = re.compile(r"bms-pipeline ((?:[a-z][a-z-]*)(?: [a-z][a-z-]*)?)")


def commands() -> dict[str, set[str]]:
    """Return the name of each command, and of each group with the names in it."""
    group = get_command(app.app)
    assert isinstance(group, TyperGroup)
    return {
        name: set(command.commands) if isinstance(command, TyperGroup) else set()
        for name, command in group.commands.items()
    }


def named(text: str) -> Iterator[str]:
    """Yield the commands in code, between backticks or after a prompt."""
    for quoted in re.findall(r"`[^`\n]*`|^\s*(?:\$ |\.venv/bin/)?bms-pipeline .*$", text, re.MULTILINE):
        yield from NAMED.findall(quoted)


def is_one(words: str, known: dict[str, set[str]]) -> bool:
    first, _, second = words.partition(" ")
    is_image = first == "bms-pipeline"  # `docker run bms-pipeline bms-pipeline sync`
    return is_image or (first in known and not (known[first] and second and second not in known[first]))


def test_each_command_that_a_text_names_exists() -> None:
    known = commands()
    wrong = {
        str(file.relative_to(ROOT)): words
        for file in TEXTS
        for words in named(file.read_text(encoding="utf-8"))
        if not is_one(words, known)
    }
    assert not wrong
