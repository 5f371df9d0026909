"""Which original a stand-in has: kept in the home folder alone, for the bundles made there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bms_pipeline.core.errors import PipelineError
from bms_pipeline.core.files import atomic_write, refused_by_system

KEPT_BUNDLES = 10
"""The stand-ins of older bundles are forgotten."""


class StandInUnknown(PipelineError):
    """No bundle of this home folder has the stand-in."""


@dataclass(frozen=True)
class Original:
    """An original, the stand-in asked for, and the bundle that has it."""

    bundle: str
    stand_in: str
    kind: str
    original: str


def whois_file(home: Path) -> Path:
    """Return the file with the stand-ins of ``home``."""
    return home / "support" / "whois"


def store_key(home: Path, bundle: str, key: bytes, originals: Mapping[str, Mapping[str, str]]) -> None:
    """Add a bundle to the file: its key, and by kind stand-in → original. Only its owner can read the file."""
    file = whois_file(home)
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    except OSError as error:
        raise refused_by_system(error.errno or 0, file) from error
    entry = {"bundle": bundle, "key": key.hex(), "originals": originals}
    kept = [*lines[-(KEPT_BUNDLES - 1) :], json.dumps(entry)]
    with atomic_write(file) as unfinished:
        unfinished.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")


def look_up(home: Path, stand_in: str) -> list[Original]:
    """Return every original of ``stand_in``, the newest bundle first; of several words, each word's.

    Raises ``StandInUnknown``.
    """
    file = whois_file(home)
    try:
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    except OSError as error:
        raise refused_by_system(error.errno or 0, file) from error
    found = [known for line in reversed(lines) for known in _in_bundle(json.loads(line), stand_in)]
    if not found:
        raise StandInUnknown(
            f"No bundle made in this home folder has {stand_in!r}.",
            f"Copy a word, a value or an id out of the bundle. The stand-ins of the last {KEPT_BUNDLES} bundles are in"
            f" {file}.",
        )
    return found


def _in_bundle(entry: dict[str, dict[str, dict[str, str]]], stand_in: str) -> list[Original]:
    bundle = str(entry["bundle"])
    wanted = dict.fromkeys([stand_in.strip(), *stand_in.split()])
    return [
        Original(bundle, text, kind, known[spelled])
        for text in wanted
        for kind, known in entry["originals"].items()
        for spelled in dict.fromkeys((text, text.casefold()))
        if spelled in known
    ]
