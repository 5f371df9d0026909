"""Read a whole list to a provable end, page by page, while its records change.

Records are added and removed while a sweep runs, and every page after the change shifts. A record can slip from an
unread page onto a page already read. Plain paging loses it without a trace (measured: in 60 of 60 runs).

**How it reads.** The list is read in *windows* of up to 25 pages. Two neighbours share a page. Each window starts with
its last page, goes on with its other pages, and ends with its last page *again*::

    time ──▶
    window 1   last   other pages   last again
                                    ║ one reading of the shared page
    window 2          last          first, and other pages   last again

If records shift at or before the last page during this time, the rows of the last page move. The next window starts
before this second reading, so no moment lies between two windows. This costs one call in 25. A window is *stable* under
three conditions. Both readings of its last page have the same ids. ``totalRecords`` did not both rise and fall between
them. No id is in the window twice. Unstable windows are *read again*, as shorter windows, in up to three rounds. A
window read again must share a record with each neighbour on their common page. The order of the other records does not
change, so no record can lie between them.

**What is proved** when ``complete`` is true, for a list whose records keep their order (``Sort=Id``):

* The files hold every record that existed from the first to the last call, if every change was visible. For a list with
  ``totalRecords`` this means: no removal and addition fall between the *same two answers* (some 0.1 seconds) with the
  reading position between them. For a list without: no removal and addition cancel out in number during *one window* at
  or before its last page.
* If ids rise through the whole list (manifest: ``ordered``) and new records get higher ids, additions come last and can
  cancel nothing. Then both conditions always hold.
* The last page was read, and two answers confirm it (``ending`` has the states). With ``totalRecords``, the records of
  several pages add up to it. Without it, there are two proofs. Pages of one size end in a short one, and the next page
  is empty twice. Or a page of another size shows the last records and no more.
* With ``totalRecords``, the distinct ids of the newest readings add up to it. If it moved during the sweep, they may
  differ by as much as it moved: some records were removed after they were read, or added to pages already read.

**What is not proved.** The two exceptions above: re-reading some pages cannot show them, only reading everything twice.
A record that left the list and came back elsewhere may be missing. Field values are as of the reading of their page. A
record removed during the sweep may still be in it; the next sweep shows it gone.
"""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bms_pipeline.bms.client import MODIFIED_SINCE
from bms_pipeline.bms.sweep import page_files
from bms_pipeline.bms.sweep.client_pages import ClientPages
from bms_pipeline.bms.sweep.manifest import Manifest, moment_text, new_sweep_id, sweeps
from bms_pipeline.bms.sweep.page_reader import OnProgress, PageReader, ReadsPages
from bms_pipeline.bms.sweep.paginator import Paginator
from bms_pipeline.core.entities import LIST_CALLS, ListCall
from bms_pipeline.core.errors import FilterIgnored, PipelineError

RESUME_HOURS = 6.0
"""Start a new sweep if the unfinished one has been idle for longer."""


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
    """Read all of a list into its folder (``sweeps_folder``) and return its manifest, with the proof.

    ``folder``: the landing folder. ``modified_since`` (ISO 8601, as BMS gave it) reads only later changes, which never
    show deletions. With ``ClientPages`` as ``client``, the sweep is of one client and its proof is about that client
    alone. ``tenant``: fingerprint of the data's owner. A sweep is continued only for the same tenant, kind, client and
    ``modified_since``, and if it was idle for less than ``RESUME_HOURS``.

    Raises the client's errors (``BudgetExhausted``, ``ServiceUnreachable``, ...) and ``StorageFull``: the pages read so
    far are kept, and the next call continues there. Raises ``FilterIgnored`` when records of another client came: such
    a sweep is never continued. A list that keeps changing is no error; its manifest is not ``complete``.
    """
    client_id = client.client_id if isinstance(client, ClientPages) else None
    wanted = Manifest(
        sweep=new_sweep_id(),
        list_call=list_call.name,
        mode="incremental" if modified_since else "full" if client_id is None else "client",
        modified_since=modified_since,
        client=client_id,
        tenant=tenant,
        started=moment_text(),
        touched=moment_text(),
    )
    home, manifest = _resumable(folder, wanted) or _started(folder, wanted)
    began = time.monotonic() - manifest.seconds
    filters = {MODIFIED_SINCE: modified_since} if modified_since else {}
    reader = PageReader(client, list_call, home, filters, connections)
    reader.calls = manifest.calls_made
    walk = Paginator(reader, home, on_progress, mode=manifest.mode)
    try:
        walk.run()
    except FilterIgnored:
        reader.stop()
        shutil.rmtree(home, ignore_errors=True)  # records of other clients, read as this one's
        raise
    except BaseException as error:
        manifest.status = "stopped"
        manifest.reason = error.message if isinstance(error, PipelineError) else type(error).__name__
        with suppress(PipelineError):  # a second error, such as a full disk, must not hide the first
            _settle(manifest, home, reader, walk, began)
        raise
    manifest.reason = walk.objection() or ""
    manifest.complete = not manifest.reason
    manifest.status, manifest.finished = "finished", moment_text()
    _settle(manifest, home, reader, walk, began)
    return manifest


def _settle(manifest: Manifest, home: Path, reader: PageReader, walk: Paginator, began: float) -> None:
    """Wait for the calls in flight and save the manifest."""
    reader.stop()
    manifest.seconds = round(time.monotonic() - began, 3)
    walk.describe(manifest)
    manifest.save(home)


def sweeps_folder(folder: Path, list_call: ListCall, client_id: int | None = None) -> Path:
    """Return the folder of a list's sweeps in the landing ``folder``: of all records, or of one client alone.

    The two never lie together, so that neither is continued, kept or deleted as the other.
    """
    return (folder if client_id is None else folder / "clients" / str(client_id)) / list_call.name


def _started(folder: Path, wanted: Manifest) -> tuple[Path, Manifest]:
    """Begin a new sweep."""
    home = _home(folder, wanted) / wanted.sweep
    page_files.make_folder(home)
    wanted.save(home)
    return home, wanted


def _home(folder: Path, wanted: Manifest) -> Path:
    list_call = next(list_call for list_call in LIST_CALLS if list_call.name == wanted.list_call)
    return sweeps_folder(folder, list_call, wanted.client)


def _resumable(folder: Path, wanted: Manifest) -> tuple[Path, Manifest] | None:
    """Return the newest sweep of the list if it is of this kind and can be continued."""
    found = sweeps(_home(folder, wanted))
    if not found:
        return None
    home, manifest = found[-1]
    moments = [manifest.touched, *(str(line.get("at", "")) for line in page_files.lines(home, page_files.PROGRESS))]
    stood_still = datetime.now(UTC) - datetime.fromisoformat(max(moments))
    fresh = timedelta(0) <= stood_still < timedelta(hours=RESUME_HOURS)
    same = all(getattr(manifest, name) == getattr(wanted, name) for name in ("modified_since", "client", "tenant"))
    if manifest.status == "finished" or not fresh or not same:
        return None
    manifest.status, manifest.reason = "running", ""
    manifest.save(home)
    return home, manifest
