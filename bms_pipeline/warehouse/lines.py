"""Lines of JSON with a checksum to show whether they are whole, for append-only files."""

from __future__ import annotations

import hashlib
import json
from typing import Any

Entry = dict[str, Any]
"""The content of one line."""


def encoded(entry: Entry) -> bytes:
    """Return the line for ``entry``, in ASCII, its end included."""
    whole = {"checksum": _checksum(entry), "entry": entry}
    return json.dumps(whole, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"


def decoded_line(line: bytes) -> Entry | None:
    """Return the content of a line, or None where it is damaged."""
    try:
        found = json.loads(line)
        entry = found["entry"]
        return entry if isinstance(entry, dict) and found["checksum"] == _checksum(entry) else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _checksum(entry: Entry) -> str:
    canonical = json.dumps(entry, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
