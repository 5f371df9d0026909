"""The callback by which long work shows how far it is."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """A callback for the progress of a stage; ``total`` is None while it is not known."""

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """Show it."""
        ...


def silent(stage: str, done: int, total: int | None) -> None:
    """Show nothing."""
