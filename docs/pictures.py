"""How a picture of ``docs/images`` is stored: in few colours, so that the README stays light.

`make pictures` takes all of them again: ``console_pictures.py`` and ``dagster_pictures.py``.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

IMAGES = Path(__file__).parent / "images"
COLOURS = 128
SECONDS_A_FRAME = 2.5


def save(shot: bytes, name: str) -> None:
    """Store a screenshot (PNG) as ``name``.png."""
    _reduced(shot).save(IMAGES / f"{name}.png", optimize=True)


def save_walk(shots: Sequence[bytes], name: str) -> None:
    """Store screenshots (PNG, of one size) as one animated picture ``name``.png that repeats for ever."""
    first, *others = [_reduced(shot) for shot in shots]
    first.save(
        IMAGES / f"{name}.png",
        save_all=True,
        append_images=others,
        duration=int(SECONDS_A_FRAME * 1000),
        loop=0,
        optimize=True,
    )


def _reduced(shot: bytes) -> Image.Image:
    return Image.open(io.BytesIO(shot)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
