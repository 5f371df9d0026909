"""``--log-json``: each line on standard error is a JSON object, for programs that collect logs.

Standard error is replaced by ``JsonLines``, so no line of any other code gets around it. What has a structure (a log
record, an ended stage, an error with its next step) comes as fields; every other line is a ``message``. The words are
those of the text log, which no secret reaches.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console

    from bms_pipeline.core.errors import PipelineError

OPTION = "--log-json"


class JsonLines(io.TextIOBase):
    """A standard error that writes each line as a JSON object with ``time``, ``level`` and ``message`` or more."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._unfinished = ""
        self._lock = threading.RLock()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """That of any text: the objects are in ASCII."""
        return "utf-8"

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, text: str) -> int:
        """Take ``text``; each line that it ends becomes an object."""
        with self._lock:
            *lines, self._unfinished = (self._unfinished + text).split("\n")
            for line in lines:
                self._write_line(line)
        return len(text)

    def flush(self) -> None:
        """Flush what was written; an unfinished line waits for its end.

        Python flushes once more when it drops this object, which may be after the stream was closed.
        """
        if not self._stream.closed:
            self._stream.flush()

    def finish(self) -> None:
        """Write the unfinished line, at the end of the process."""
        with self._lock:
            line, self._unfinished = self._unfinished, ""
            self._write_line(line)

    def emit(self, level: str, message: str, **fields: object) -> None:
        """Write one object."""
        moment = datetime.now(UTC).isoformat(timespec="milliseconds")
        with self._lock:
            self._stream.write(json.dumps({"time": moment, "level": level, "message": message, **fields}) + "\n")
            self._stream.flush()

    def _write_line(self, line: str) -> None:
        text = Text.from_ansi(line).plain.strip()
        if text:
            self.emit("info", text)


class _Handler(logging.Handler):
    """Writes log records as objects."""

    def __init__(self, lines: JsonLines) -> None:
        super().__init__(logging.WARNING)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        trace = "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else None
        fields = {"traceback": trace} if trace else {}
        self._lines.emit(record.levelname.lower(), record.getMessage(), logger=record.name, **fields)


def without_option(arguments: Sequence[str]) -> list[str]:
    """Return ``arguments`` without the option, which may stand anywhere before ``--``."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return [argument for argument in arguments[:end] if argument != OPTION] + list(arguments[end:])


@contextlib.contextmanager
def when_asked(arguments: Sequence[str], console: Console) -> Iterator[None]:
    """Write standard error as JSON inside the block, where ``arguments`` have the option.

    ``console`` writes there too; it does not break lines then. An exception that nobody expected becomes an object
    and exit code 1.
    """
    if len(without_option(arguments)) == len(arguments):
        yield
        return
    lines = JsonLines(sys.stderr)
    handler = _Handler(lines)
    soft_wrap, console.soft_wrap = console.soft_wrap, True
    logging.getLogger().addHandler(handler)
    logging.captureWarnings(True)
    with contextlib.redirect_stderr(lines):
        try:
            yield
        except Exception as error:
            lines.emit("critical", type(error).__name__, traceback=traceback.format_exc())
            sys.exit(1)
        finally:
            logging.captureWarnings(False)
            logging.getLogger().removeHandler(handler)
            console.soft_wrap = soft_wrap
            lines.finish()


def lines_in_use() -> JsonLines | None:
    """Return standard error where it is written as JSON, else None."""
    return sys.stderr if isinstance(sys.stderr, JsonLines) else None


def wrote_error(error: PipelineError) -> bool:
    """Write ``error`` where standard error is written as JSON; return whether it is."""
    lines = lines_in_use()
    if lines is None:
        return False
    lines.emit("error", error.message, error=type(error).__name__, next_step=error.next_step)
    return True
