"""The words that this program says by itself: those of its own source. They are public."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from importlib import resources
from importlib.resources.abc import Traversable

_WORD = re.compile(r"[^\W\d_]+")


@functools.cache
def program_words() -> frozenset[str]:
    """Return every word of this program's own source: whatever it says by itself is made of these."""
    return frozenset(
        word
        for text in _sources(resources.files("bms_pipeline"))
        for word in map(str.casefold, _WORD.findall(text.read_text(encoding="utf-8")))
    )


def _sources(place: Traversable) -> Iterable[Traversable]:
    for part in place.iterdir():
        if part.is_dir():
            yield from _sources(part)
        elif part.name.endswith((".py", ".sql")):
            yield part
