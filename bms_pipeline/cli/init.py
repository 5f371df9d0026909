"""The command that prepares a folder: ``.env``, ``dagster.yaml``, ``workspace.yaml`` and ``dg.toml``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bms_pipeline.cli.output import safe, say

if TYPE_CHECKING:
    from bms_pipeline.sync.new_folder import FolderFile, NewFolder

app = typer.Typer()


@app.command()
def init(
    folder: Annotated[
        Path, typer.Argument(help="Created where it does not exist; default: the current folder.")
    ] = Path(),
) -> None:
    """Write .env, dagster.yaml, workspace.yaml and dg.toml into a folder. An existing file stays as it is.

    Fill in .env afterwards: only you can read it. Run this again after an upgrade to see which settings are new.
    """
    from bms_pipeline.sync.new_folder import make_new_folder

    made = make_new_folder(folder)
    for file in made.files:
        _say_file(file)
    if made.reads_other:
        say(f"Dagster reads {safe(made.dagster_file)}, and not the dagster.yaml of this folder. Move it aside and run this again to change that.")  # fmt: skip  # noqa: E501
    _say_next(made)


def _say_file(file: FolderFile) -> None:
    if file.is_new:
        say(f"Written: {safe(file.file)}")
        return
    say(f"Left alone: {safe(file.file)}{'' if file.differs else ', which is as shipped'}")
    if not file.is_readable:
        say("  It cannot be read, so it was not compared with the shipped file.")
    for title, names in (
        ("Only in the shipped file", file.missing),
        ("Only in this file", file.added),
        ("With another value than in the shipped file", file.changed),
    ):
        if names:
            say(f"  {title}: {safe(', '.join(names))}")


def _say_next(made: NewFolder) -> None:
    enter = "" if made.folder == Path.cwd() else f"cd {shlex.quote(str(made.folder))} && "
    say("Next: fill in .env, then run")
    say(f"  {safe(enter)}bms-pipeline authenticate")
    say(f"  {safe(enter)}bms-pipeline dev")
