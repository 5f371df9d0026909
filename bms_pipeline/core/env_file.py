"""A ``.env`` file: each value is exactly the text in the file. Errors name the line with an unclear value.

The syntax is python-dotenv's. Dagster loads the same file, and so reads the same names and quotes. One thing differs:
no variables are expanded, so a password may contain ``${...}``.
"""

from __future__ import annotations

import codecs
import io
import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dotenv.parser import Binding, parse_stream
from dotenv.variables import parse_variables

from bms_pipeline.core.errors import SettingsError
from bms_pipeline.core.files import refused_by_system

NOT_IN_A_VALUE = re.compile(r"[\x00-\x1f\x7f\u2028\u2029\ud800-\udfff]")
"""Line breaks, control characters and lone surrogates: no value may contain them."""

_QUOTES = "Put the whole value in single quotes; inside them write \\' for a single quote and \\\\ for a backslash."
_OTHER_ENCODINGS = {
    codecs.BOM_UTF32_LE: "UTF-32",  # before UTF-16, whose byte order mark it begins with
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_SAVE_AS_UTF8 = "Save it as UTF-8, in PowerShell with `Set-Content -Encoding utf8`; then check that line."
_NAME = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)")
_CUT_OFF = re.compile(r"[^=]*=(?![^\S\r\n]+#)[^\S\r\n]*[^'\"\s][^\r\n]*?[^\S\r\n]#(?P<glued>\S)?")


@dataclass(frozen=True)
class EnvLine:
    """One setting of the file; ``text`` is None if the line has no equals sign."""

    name: str
    text: str | None
    number: int


def read_env(file: Path, settings: Collection[str] = (), secrets: Collection[str] = ()) -> list[EnvLine]:
    """Return the settings in ``file``, in its order.

    Raises ``SettingsError`` with the line and, if it is visible, the name in three cases: an encoding other than UTF-8,
    a line that is no ``NAME=value``, and a value of ``settings`` that people and programs read differently. No part of
    a value is ever cut off from ``secrets``.
    """
    lines = []
    for binding in _bindings(file):
        number = _number(binding)
        if binding.error:
            raise _unreadable(file, number, _name_in(binding.original.string), "cannot be read as NAME=value")
        if binding.key is None:
            continue
        name = _name(binding)
        if name in settings:
            _refuse_doubtful(file, number, name, binding, is_secret=name in secrets)
        lines.append(EnvLine(name, binding.value, number))
    return lines


def replaced(file: Path, changes: Mapping[str, str], dropped: Collection[str] = ()) -> str:
    """Return the content of ``file`` after ``changes`` (NAME → text, empty to leave it out).

    All lines stay unchanged unless they set a name in ``changes`` or ``dropped``.
    """
    bindings = _bindings(file) if file.is_file() else []
    gone = {*changes, *dropped}
    kept = "".join(binding.original.string for binding in bindings if _name(binding) not in gone)
    if kept and not kept.endswith(("\n", "\r")):
        kept += "\n"
    return kept + "".join(f"{name}={quoted_value(text)}\n" for name, text in changes.items() if text)


def as_dagster_loads(lines: Iterable[EnvLine]) -> dict[str, str]:
    """Return NAME → value as Dagster puts them into the environment: it expands ``${NAME}`` and ``${NAME:-text}``."""
    written = [line for line in lines if line.text is not None]
    names = {line.name for line in written}
    outside = {name: text for name, text in os.environ.items() if name.upper() not in names}
    loaded: dict[str, str] = {}
    for line in written:
        loaded[line.name] = "".join(part.resolve({**outside, **loaded}) for part in parse_variables(line.text or ""))
    return loaded


def _bindings(file: Path) -> list[Binding]:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise refused_by_system(error.errno or 0, file) from error
    for mark, encoding in _OTHER_ENCODINGS.items():
        if content.startswith(mark):
            raise _unreadable(file, 1, None, f"is {encoding}, and not UTF-8", _SAVE_AS_UTF8)
    if b"\0" in content:
        number = content[: content.index(b"\0")].count(b"\n") + 1
        raise _unreadable(file, number, None, "is not UTF-8: it holds a NUL byte, as UTF-16 does", _SAVE_AS_UTF8)
    try:
        return list(parse_stream(io.StringIO(content.decode("utf-8-sig"), newline="")))
    except UnicodeDecodeError as error:
        start = content[: error.start].rfind(b"\n") + 1
        line = content[start:].split(b"\n", 1)[0].decode("latin-1")
        what = f"is not UTF-8: it holds the byte 0x{content[error.start]:02x}"
        number = content[: error.start].count(b"\n") + 1
        raise _unreadable(file, number, _name_in(line), what, _SAVE_AS_UTF8) from None


def _name(binding: Binding) -> str:
    # Files joined by `cat` have UTF-8 byte order marks in the middle, too.
    return (binding.key or "").lstrip("\ufeff").upper()


def _number(binding: Binding) -> int:
    text = binding.original.string
    blank = text[: len(text) - len(text.lstrip())]
    return binding.original.line + len(re.findall(r"\r\n|\n|\r", blank))


def _name_in(line: str) -> str | None:
    found = _NAME.match(line)
    return found.group(1).upper() if found else None


def _unreadable(file: Path, number: int, name: str | None, what: str, next_step: str = _QUOTES) -> SettingsError:
    of = f" ({name})" if name else ""
    return SettingsError(f"{file}, line {number}{of}: it {what}.", next_step)


def _refuse_doubtful(file: Path, number: int, name: str, binding: Binding, *, is_secret: bool) -> None:
    value = binding.value or ""
    if NOT_IN_A_VALUE.search(value):
        what = r"holds a line break or a control character (in double quotes, \n and \t are such)"
        raise _unreadable(file, number, name, what)
    cut_off = _CUT_OFF.match(binding.original.string)
    if cut_off and (is_secret or cut_off["glued"]):
        next_step = "Quote the whole value if the # belongs to it, else put the comment on a line of its own."
        raise _unreadable(file, number, name, "has a # after a blank, which begins a comment", next_step)
    if len(value) > 1 and value[0] in "“”„‘’‚«" and value[-1] in "“”‘’»":
        raise _unreadable(file, number, name, "stands in curly quotes, which would belong to the value")


def quoted_value(text: str) -> str:
    """Return ``text`` quoted for a ``.env``, so that nothing in it is special."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
