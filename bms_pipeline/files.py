"""Files that people are given: whole or not there, and readable by their owner only."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bms_pipeline.errors import PipelineError


@contextlib.contextmanager
def made_whole(file: Path) -> Iterator[Path]:
    """A new file beside ``file`` that only its owner may read, and that takes its place once it is complete.

    Raises ``PipelineError`` where ``file`` cannot be written.
    """
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", suffix=f".new{file.suffix}", dir=file.parent)
        os.close(descriptor)
        unfinished = Path(name)
        try:
            yield unfinished
            unfinished.replace(file)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise PipelineError(
            f"{file} cannot be written: {error.strerror or error}.", "Name a file in a folder that you may write to."
        ) from error
