"""The newest records of a list, between its full sweeps: page 1 by falling ids, and on while all ids are new.

A sweep of a large list takes hours, because of the limit of calls. So its newest records are read with one call and
land at once. That proves nothing about the other records: it is no sweep, and no absence follows from it.

How a falling order is asked for is not documented [G]. An answer whose ids do not fall is dropped as a whole.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Protocol

from bms_pipeline.bms.client import Page
from bms_pipeline.bms.sweep import page_files
from bms_pipeline.bms.sweep.manifest import new_sweep_id
from bms_pipeline.core.entities import ListCall
from bms_pipeline.core.errors import RequestRefused

MOST_PAGES = 20
"""More new records than that wait for the sweep."""


class ReadsNewest(Protocol):
    """The part of the client for the newest records."""

    def newest(self, list_call: ListCall, number: int) -> Page:
        """Read one page by falling ids."""


@dataclass(frozen=True)
class Newest:
    """The newest records. ``folder``: their pages, None where none is new. ``calls``: made for them.

    ``objection``: why the answer was dropped, which contradicts that BMS sorts; empty if it was not.
    """

    folder: Path | None
    calls: int
    objection: str = ""


def read_newest(client: ReadsNewest, list_call: ListCall, landing_folder: Path, known: Collection[int]) -> Newest:
    """Read the newest records into a folder of their own; ``known``: the ids that are stored."""
    pages: list[Page] = []
    for number in range(1, MOST_PAGES + 1):
        try:
            page = client.newest(list_call, number)
        except RequestRefused as refusal:
            if type(refusal) is not RequestRefused:
                raise
            return Newest(None, sum(page.calls for page in pages) + 1, f"it refuses that order: {refusal.message}")
        pages.append(page)
        if objection := _objection(pages):
            return Newest(None, sum(page.calls for page in pages), objection)
        if not page.ids or any(bms_id in known for bms_id in page.ids):
            break
    calls = sum(page.calls for page in pages)
    if all(bms_id in known for page in pages for bms_id in page.ids):
        return Newest(None, calls)
    folder = newest_folder(landing_folder, list_call) / new_sweep_id()
    page_files.make_folder(folder)
    for page in pages:
        page_files.save_page(folder, page_files.page_name(page.number, page.number), page.records)
    return Newest(folder, calls)


def newest_folder(landing_folder: Path, list_call: ListCall) -> Path:
    """Return the folder of the newest records; never a sweep's, so that neither is taken for the other."""
    return landing_folder / "newest" / list_call.name


def ids_since(landing_folder: Path, list_call: ListCall, started: str) -> list[int]:
    """Return the ids read as the newest ones since a sweep ``started`` (as in its manifest): they exist in BMS."""
    found: list[int] = []
    for folder in _readings(landing_folder, list_call):
        if folder.stat().st_mtime >= datetime.fromisoformat(started).timestamp():
            for file in sorted(folder.glob("*.json.zst")):
                found += page_files.load_ids(folder, file.name) or []
    return found


def prune_newest(landing_folder: Path, list_call: ListCall) -> None:
    """Delete the newest records that were read before now; call it once a whole sweep landed."""
    for folder in _readings(landing_folder, list_call):
        shutil.rmtree(folder, ignore_errors=True)


def _readings(landing_folder: Path, list_call: ListCall) -> list[Path]:
    home = newest_folder(landing_folder, list_call)
    return sorted(folder for folder in home.iterdir() if folder.is_dir()) if home.is_dir() else []


def _objection(pages: list[Page]) -> str:
    """Return why the last page contradicts a falling order; a record may come again where others came in front."""
    page, before = pages[-1], pages[:-1]
    falls = all(one > two for one, two in pairwise(page.ids))
    goes_on = not (page.ids and before and before[-1].ids) or page.ids[0] <= before[-1].ids[-1]
    return "" if falls and goes_on else f"page {page.number} has ids that do not fall"
