"""Reading a whole list to a provable end, page by page, while its records change.

Records are added and removed while a sweep runs, and every page after the place of the change shifts: a record can slip
from a page not yet read onto one that was. Plain paging loses it without a trace (measured: in 60 of 60 runs).

**How it is read.** The list is read in *stretches* of up to 25 pages; two neighbours share the page where they meet. A
stretch begins with its last page, then come its other pages, then its last page *again*. A shift at or before that page
while the stretch was read moves the page's own rows. The next stretch begins before this second reading, so that no
moment lies between two stretches. This costs one call in 25. A stretch is *clean* if both readings of its last page
have the same ids, ``totalRecords`` did not both rise and fall meanwhile, and no id is in it twice. Others are *read
again*, in shorter stretches, up to three rounds. A stretch that was read again must share a record with each neighbour
on the page where they meet; as the order of the other records does not change, no record can lie between them.

**What is proved** when ``complete`` is true, for a list whose records keep their order (``Sort=Id``):

* Every record that existed from the first to the last call is in the files, provided that every change was visible:
  for a list with ``totalRecords``, that no removal and addition fall between the *same two answers* (some 0.1 seconds),
  with the place where the reading is between them; for a list without, that no removal and addition cancel out in
  number during *one stretch* at or before its last page.
* Where ids rise through the whole list (manifest: ``ordered``) and new records get higher ids, additions come last and
  can cancel nothing: then both provisos hold by themselves.
* The last page was read, and two answers say so (``ending`` has the states). With ``totalRecords``, the records of
  several pages add up to it. Without, pages of one size end in a short one and the next page is empty twice, or a page
  of another size shows the last records and no more.
* With ``totalRecords``, the distinct ids of the newest readings add up to it; if it moved during the sweep, they may
  differ by as much as it moved (records that were read and then removed, or added where reading had passed).

**What is not proved.** The two cases above: no second reading of some pages can show them, only reading everything
twice. A record that left the list and came back elsewhere may be missing. Field values are each from the moment that
their page was read. A record removed during the sweep may still be in it; the next sweep shows it gone.
"""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bms_pipeline.bms import pages
from bms_pipeline.bms.manifest import Manifest, Mode, new_sweep_id, now, sweeps
from bms_pipeline.bms.reading import OnProgress, Reader, ReadsPages
from bms_pipeline.bms.walk import Walk
from bms_pipeline.entities import ListCall
from bms_pipeline.errors import PipelineError

RESUME_HOURS = 6.0
"""An unfinished sweep that stood still for longer is not taken up again but begun anew."""


def sweep(
    client: ReadsPages,
    list_call: ListCall,
    folder: Path,
    *,
    connections: int = 8,
    modified_since: str | None = None,
    tenant: str = "",
    on_progress: OnProgress | None = None,
) -> Manifest:
    """Read all of a list into ``folder/<list call>/<sweep id>/`` and return what was proved.

    ``folder``: the landing folder. ``modified_since`` (ISO 8601, as BMS gave it) reads only what changed since, which
    never tells what is gone. ``tenant``: fingerprint of whose data it is; only a sweep of the same tenant, kind and
    ``modified_since`` is continued, if it stood still for less than ``RESUME_HOURS``.

    Raises what the client raises (``BudgetExhausted``, ``ServiceUnreachable``, ...) and ``StorageFull``: what was read
    is kept, and the next call continues there. A list that would not hold still is no error but a manifest that is not
    ``complete``.
    """
    home, manifest = _resumable(folder, list_call, modified_since, tenant) or _started(
        folder, list_call, modified_since, tenant
    )
    began = time.monotonic() - manifest.seconds
    filters = {"ModifiedOnFrom": modified_since} if modified_since else {}
    reader = Reader(client, list_call, home, filters, connections)
    reader.calls = manifest.calls_made
    walk = Walk(reader, home, on_progress, is_full=manifest.mode == "full")
    try:
        walk.run()
    except BaseException as error:
        manifest.status = "stopped"
        manifest.reason = error.message if isinstance(error, PipelineError) else type(error).__name__
        with suppress(PipelineError):  # a full disk, say, must not hide what went wrong first
            _settle(manifest, home, reader, walk, began)
        raise
    manifest.reason = walk.objection() or ""
    manifest.complete = not manifest.reason
    manifest.status, manifest.finished = "finished", now()
    _settle(manifest, home, reader, walk, began)
    return manifest


def _settle(manifest: Manifest, home: Path, reader: Reader, walk: Walk, began: float) -> None:
    """Wait for what is still on its way, and write down what was read."""
    reader.stop()
    manifest.seconds = round(time.monotonic() - began, 3)
    walk.describe(manifest)
    manifest.save(home)


def _started(folder: Path, list_call: ListCall, modified_since: str | None, tenant: str) -> tuple[Path, Manifest]:
    """Begin a new sweep."""
    mode: Mode = "incremental" if modified_since else "full"
    manifest = Manifest(
        sweep=new_sweep_id(),
        list_call=list_call.name,
        mode=mode,
        modified_since=modified_since,
        tenant=tenant,
        started=now(),
        touched=now(),
    )
    home = folder / list_call.name / manifest.sweep
    pages.make_folder(home)
    manifest.save(home)
    return home, manifest


def _resumable(
    folder: Path, list_call: ListCall, modified_since: str | None, tenant: str
) -> tuple[Path, Manifest] | None:
    """Return the newest sweep of the list if it is one of this kind that can be continued."""
    found = sweeps(folder / list_call.name)
    if not found:
        return None
    home, manifest = found[-1]
    moments = [manifest.touched, *(str(line.get("at", "")) for line in pages.lines(home, pages.PROGRESS))]
    stood_still = datetime.now(UTC) - datetime.fromisoformat(max(moments))
    fresh = timedelta(0) <= stood_still < timedelta(hours=RESUME_HOURS)
    same = (manifest.modified_since, manifest.tenant) == (modified_since, tenant)
    if manifest.status == "finished" or not fresh or not same:
        return None
    manifest.status, manifest.reason = "running", ""
    manifest.save(home)
    return home, manifest
