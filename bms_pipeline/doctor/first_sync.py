"""The size of the tenant, and the calls and hours of its first sync, before anything starts."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bms_pipeline.core.entities import ASSETS_LIST, ListCall
from bms_pipeline.core.settings import Settings
from bms_pipeline.core.vocabulary import Verdict
from bms_pipeline.doctor.bms import LARGEST_PAGE, LISTS, BmsSeen
from bms_pipeline.doctor.checks import Check
from bms_pipeline.doctor.findings import Finding

USUAL_PAGE = 100
"""Records a page that a sync asks for."""
WORTH_TELLING_HOURS = 2


@dataclass(frozen=True)
class Size:
    """How many records a list has: ``about`` this number, exactly if ``is_exact``, or more if ``is_least``."""

    about: int
    is_exact: bool
    is_least: bool = False

    def __str__(self) -> str:
        return f"{'' if self.is_exact else 'at least ' if self.is_least else 'about '}{self.about:,}"


def size_of(seen: BmsSeen, call: ListCall) -> Size | None:
    """Return the size of a list; None where it is not known."""
    answer = seen.lists.get(call.name)
    if answer is None:
        return None
    if answer.number is not None and answer.number >= len(answer.rows):
        return Size(answer.number, is_exact=True)
    rows = len(answer.rows)
    if call.name != ASSETS_LIST.name or not rows:
        return Size(rows, is_exact=not rows, is_least=bool(rows))
    return _assets(seen, rows)


def _assets(seen: BmsSeen, rows: int) -> Size:
    """Return the number of assets between the last page known to have some and the first known to have none."""
    low, high = seen.asset_pages
    if seen.assets_on_last is not None:
        return Size((low - 1) * rows + seen.assets_on_last, is_exact=True)
    if high == LARGEST_PAGE:
        return Size(low * rows, is_exact=False, is_least=True)
    return Size(int(round(math.sqrt(low * (high - 1)) * rows, -1)) if high - low > 1 else low * rows, is_exact=False)


def tenant_size(seen: BmsSeen) -> Finding | None:
    """Return the number of records in each list."""
    sizes = {call.name: size for call in LISTS if (size := size_of(seen, call)) is not None}
    if not sizes:
        return None
    text = ", ".join(f"{size} {name}" for name, size in sizes.items())
    return Finding("BMS-SIZE", Verdict.READY, text, is_short=True)


def first_sync(seen: BmsSeen, settings: Settings) -> Finding | None:
    """Return the calls and hours of the first sync of BMS."""
    sizes = {call: size for call in LISTS if (size := size_of(seen, call)) is not None}
    if len(sizes) < len(LISTS):
        return None
    pages = {
        call: math.ceil(size.about / min(USUAL_PAGE, len(seen.lists[call.name].rows) or USUAL_PAGE)) + 1
        for call, size in sizes.items()
    }
    details, limit = sizes[ASSETS_LIST], settings.bms_calls_per_hour
    for_details = min(settings.bms_details_calls_per_hour or limit, limit)
    hours = math.ceil(max(max(pages.values()) / limit, details.about / for_details))
    span = "within an hour" if hours <= 1 else f"about {hours:,} hours"
    text = f"first sync: about {sum(pages.values()):,} calls for lists, {details} for details: {span}"
    step = "" if hours <= WORTH_TELLING_HOURS else "Lists load first; nothing waits for the details."
    return Finding("FIRST-SYNC", Verdict.READY, text, step, is_short=True)


def size_checks(settings: Settings) -> list[Check[BmsSeen]]:
    """Return the checks of size and time."""
    return [
        Check("BMS-SIZE", tenant_size, ()),
        Check("FIRST-SYNC", lambda seen: first_sync(seen, settings), tuple(call.name for call in LISTS)),
    ]
