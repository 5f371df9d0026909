"""The spelling of keys: the vendor's document prints PascalCase, the wire is camelCase, older hosts differ [C].

The first page with records decides the spelling of each list. Every answer of the list is rewritten to the declared
spelling before anything is stored. So later stages see only one spelling.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

_STRING = re.compile(rb'"((?:[^"\\]|\\.)*+)"(\s*+:)?', re.S)


class Spelling:
    """A service's spelling of the declared keys."""

    def __init__(self, declared: Iterable[str], example: bytes = b"[]") -> None:
        """Learn the spelling from ``example``, the JSON of some records.

        If ``example`` has a key in the declared spelling too, the key is left alone: renaming the variant would repeat
        it.
        """
        found = {match.group(1) for match in _STRING.finditer(example) if match.group(2)}
        spellings = Counter(key.lower() for key in found)
        known = {key.encode() for key in declared}
        self._names = {key.lower(): key for key in known if key not in found or spellings[key.lower()] == 1}
        self.differs = any(key not in known and key.lower() in self._names for key in found)

    def declared(self, json: bytes) -> bytes:
        """Return ``json`` with its keys in the declared spelling; values stay byte for byte."""
        return _STRING.sub(self._renamed, json) if self.differs else json

    def _renamed(self, found: re.Match[bytes]) -> bytes:
        key, colon = found.group(1, 2)
        name = self._names.get(key.lower()) if colon else None
        return found.group() if name is None else b'"%b"%b' % (name, colon)
