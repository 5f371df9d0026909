"""Line charts of counts over time, drawn on the server: a page puts the numbers into an SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

WIDTH, HEIGHT = 240, 64
EDGE = 3
LABEL = 12
"""Height of a label in a chart."""


@dataclass(frozen=True)
class ChartLine:
    """One count over time.

    ``points`` goes into a ``polyline``. ``first`` and ``last`` are its values at both ends, ``label_y`` the height of
    its last value's label.
    """

    name: str
    points: str
    first: int
    last: int
    label_y: float


@dataclass(frozen=True)
class Chart:
    """Several lines in one picture of ``WIDTH`` by ``HEIGHT``; no lines where there is nothing to compare."""

    lines: tuple[ChartLine, ...]
    most: int
    since: datetime | None
    until: datetime | None


def chart(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Chart:
    """Draw the columns ``names`` of ``rows`` as lines, leaving out a count with nothing but zeros.

    The rows are in order and have ``counted_at``.
    """
    if len(rows) < 2:
        return Chart((), 0, None, None)
    most = max(max(int(row[name]) for name in names) for row in rows)
    lines = [_line(name, [int(row[name]) for row in rows], most) for name in names if any(row[name] for row in rows)]
    return Chart(
        tuple(_apart(lines)),
        most,
        rows[0]["counted_at"],
        rows[-1]["counted_at"],
    )


def _line(name: str, values: Sequence[int], most: int) -> ChartLine:
    across, up = WIDTH - 2 * EDGE, HEIGHT - 2 * EDGE
    points = " ".join(
        f"{EDGE + across * n / (len(values) - 1):.1f},{EDGE + up * (1 - value / most):.1f}"
        for n, value in enumerate(values)
    )
    return ChartLine(name, points, values[0], values[-1], EDGE + up * (1 - values[-1] / most))


def _apart(lines: Sequence[ChartLine]) -> list[ChartLine]:
    """Move the labels that would cover each other apart, from the bottom up."""
    lowest, placed = float(HEIGHT), {}
    for line in sorted(lines, key=lambda line: -line.label_y):
        lowest = placed[line.name] = max(LABEL, min(line.label_y + LABEL / 2, lowest))
        lowest -= LABEL
    return [replace(line, label_y=round(placed[line.name], 1)) for line in lines]
