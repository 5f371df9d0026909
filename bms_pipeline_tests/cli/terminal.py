"""The command line on a real terminal, of a given width, as a person sees it."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Shown:
    """What a program wrote on its terminal, with the characters that move the cursor, and its exit code."""

    code: int
    written: str

    @property
    def screen(self) -> list[str]:
        """The lines a person has on the screen at the end."""
        return drawn(self.written)


def on_terminal(
    arguments: Sequence[str], environment: Mapping[str, str], folder: Path, columns: int = 80, program: str = ""
) -> Shown:
    """Run ``bms-pipeline``, or the Python ``program``, on a terminal of its own until it ends."""
    here, there = pty.openpty()
    fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    what = ["-c", program] if program else ["-m", "bms_pipeline.cli"]
    command = [sys.executable, *what, *arguments]
    env = {**environment, "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"}
    with subprocess.Popen(command, stdin=there, stdout=there, stderr=there, env=env, cwd=folder) as process:
        os.close(there)
        written = bytearray()
        with suppress(OSError):  # Linux reports the end of a terminal as an error
            while piece := os.read(here, 65536):
                written += piece
        code = process.wait(60)
    os.close(here)
    return Shown(code, written.decode())


def drawn(written: str) -> list[str]:
    """Return the lines that are left after all moves of the cursor: up, to the line's start, and erased lines."""
    lines, row, column, place = [""], 0, 0, 0
    while place < len(written):
        character = written[place]
        place += 1
        if character == "\x1b" and written[place : place + 1] == "[":
            end = next(n for n in range(place + 1, len(written)) if written[n].isalpha())
            amount, verb, place = written[place + 1 : end], written[end], end + 1
            if verb == "A":
                row = max(0, row - int(amount or 1))
            elif verb == "K":
                lines[row] = "" if amount == "2" else lines[row][:column]
        elif character == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif character == "\r":
            column = 0
        else:
            lines[row] = lines[row][:column].ljust(column) + character + lines[row][column + 1 :]
            column += 1
    return [line.rstrip() for line in lines]
