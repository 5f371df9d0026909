"""Text from services, made fit for our own messages."""

from __future__ import annotations


def printable(text: str, length: int) -> str:
    """Return ``text`` as one line without control characters, of at most ``length`` characters."""
    clean = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return clean if len(clean) <= length else clean[: length - 1] + "…"
