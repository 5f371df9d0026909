"""Reading a whole list: to its end, once, and again where it moved."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Barrier, BrokenBarrierError, Lock, Semaphore
from unittest import mock

import duckdb
import msgspec
import pytest
import time_machine
import zstandard

from bms_pipeline.bms.client import Page
from bms_pipeline.bms.sweep import page_files
from bms_pipeline.bms.sweep.manifest import Manifest, latest_complete, moment_text, prune, read_manifest, sweeps
from bms_pipeline.bms.sweep.quarantine import quarantine
from bms_pipeline.bms.sweep.rows import Quarantined
from bms_pipeline.bms.sweep.sweeper import sweep
from bms_pipeline.core.entities import ListCall
from bms_pipeline.core.errors import BudgetExhausted, ServiceUnreachable, StorageFull
from bms_pipeline_tests.bms.moving_list import SOME, UNCOUNTED, MovingList, at_random
from bms_pipeline_tests.running import quick_and_soak


def home_of(landing: Path, manifest: Manifest) -> Path:
    return landing / manifest.list_call / manifest.sweep


def landed(home: Path) -> list[dict[str, object]]:
    """All records in a sweep's files, in the order of the files' names."""
    unpacked = (zstandard.decompress(file.read_bytes()) for file in sorted(home.glob("*.json.zst")))
    return [record for each in unpacked for record in json.loads(each)]


def landed_ids(home: Path) -> set[object]:
    return {record["id"] for record in landed(home)}


BOTH = pytest.mark.parametrize("list_call", [SOME, UNCOUNTED], ids=["with totals", "without"])

# --- to the end ---------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("records", [0, 1, 99, 100, 101, 200, 450, 500, 1501, 2600, 6543])
@pytest.mark.parametrize("connections", [1, 8])
def test_a_list_that_holds_still_is_read_whole(
    records: int, connections: int, list_call: ListCall, tmp_path: Path
) -> None:
    listing = MovingList(list(range(1, records + 1)))
    manifest = sweep(listing, list_call, tmp_path, connections=connections)
    assert (manifest.complete, manifest.reason, manifest.status) == (True, "", "finished")
    assert landed_ids(home_of(tmp_path, manifest)) == set(range(1, records + 1))
    assert (manifest.records, manifest.pages, manifest.ordered) == (records, -(-records // 100), True)
    assert manifest.total == (records if list_call.has_total else None)
    assert (manifest.calls_made, manifest.rereads, manifest.repairs) == (len(listing.asked), 0, 0)


class Long:
    """2,500 full pages, of which only the ids are real, so that many cost little."""

    def page(self, list_call: ListCall, number: int, filters: Mapping[str, str] | None = None, size: int = 100) -> Page:
        ids = list(range((number - 1) * size, min(number * size, 250_000)))
        return Page(number, b"[]", ids, 250_000 if list_call.has_total else None)


@pytest.mark.parametrize(("list_call", "necessary"), [(SOME, 2500), (UNCOUNTED, 2501)])
def test_a_long_list_costs_less_than_five_percent_more(list_call: ListCall, necessary: int, tmp_path: Path) -> None:
    manifest = sweep(Long(), list_call, tmp_path, connections=8)
    assert (manifest.complete, manifest.calls_necessary, manifest.records) == (True, necessary, 250_000)
    assert manifest.calls_made / necessary <= 1.05


@pytest.mark.parametrize(
    ("records", "list_call", "calls"),
    [(30, SOME, 3), (30, UNCOUNTED, 3), (150, SOME, 2), (450, SOME, 6), (450, UNCOUNTED, 9), (0, UNCOUNTED, 5)],
)
def test_short_lists_cost_few_calls(records: int, list_call: ListCall, calls: int, tmp_path: Path) -> None:
    manifest = sweep(MovingList(list(range(records))), list_call, tmp_path, connections=8)
    assert manifest.calls_made == calls


@BOTH
def test_a_service_that_gives_fewer_records_a_page_is_read_whole(list_call: ListCall, tmp_path: Path) -> None:
    manifest = sweep(MovingList(list(range(1, 1234)), page_size=25), list_call, tmp_path, connections=4)
    assert (manifest.complete, manifest.records, manifest.pages) == (True, 1233, 50)


def test_a_total_that_is_too_small_does_not_end_a_list(tmp_path: Path) -> None:
    class Lying(MovingList):
        """Counts only the page it gives."""

        def page(
            self, list_call: ListCall, number: int, filters: Mapping[str, str] | None = None, size: int = 100
        ) -> Page:
            page = super().page(list_call, number, filters, size)
            return replace(page, total=len(page.ids))

    manifest = sweep(Lying(list(range(1, 1001))), SOME, tmp_path, connections=2)
    assert manifest.records == 1000
    assert not manifest.complete


def test_a_short_page_in_the_middle_is_not_the_end(tmp_path: Path) -> None:
    class Filtering(MovingList):
        """Drops records that the user may not see, after paging."""

        def page(
            self, list_call: ListCall, number: int, filters: Mapping[str, str] | None = None, size: int = 100
        ) -> Page:
            page = super().page(list_call, number, filters, size)
            ids = [each for each in page.ids if each % 7]
            return replace(page, ids=ids, records=json.dumps([{"id": each} for each in ids]).encode())

    manifest = sweep(Filtering(list(range(1, 3001))), UNCOUNTED, tmp_path, connections=4)
    assert (manifest.complete, manifest.reason, manifest.records) == (False, "short", 3000 - 3000 // 7)


def test_a_total_that_does_not_add_up_is_not_complete(tmp_path: Path) -> None:
    class Missing(MovingList):
        """Never gives one record."""

        def page(
            self, list_call: ListCall, number: int, filters: Mapping[str, str] | None = None, size: int = 100
        ) -> Page:
            page = super().page(list_call, number, filters, size)
            ids = [each for each in page.ids if each != 777]
            return replace(page, ids=ids, records=json.dumps([{"id": each} for each in ids]).encode())

    manifest = sweep(Missing(list(range(1, 2001))), SOME, tmp_path, connections=2)
    assert (manifest.complete, manifest.reason) == (False, "total")
    assert (manifest.records, manifest.total) == (1999, 2000)
    assert latest_complete(tmp_path / "accounts") is None


def test_changes_only_are_asked_for_by_the_services_own_stamp(tmp_path: Path) -> None:
    class Asked(MovingList):
        """Remembers the filters."""

        filters: Mapping[str, str] | None = None

        def page(
            self, list_call: ListCall, number: int, filters: Mapping[str, str] | None = None, size: int = 100
        ) -> Page:
            self.filters = filters
            return super().page(list_call, number, filters, size)

    listing = Asked([1, 2])
    manifest = sweep(listing, SOME, tmp_path, modified_since="2027-01-01T00:00:00")
    assert listing.filters == {"ModifiedOnFrom": "2027-01-01T00:00:00"}
    assert (manifest.mode, manifest.modified_since) == ("incremental", "2027-01-01T00:00:00")
    assert latest_complete(tmp_path / "accounts") is None, "changes tell nothing about what is gone"


def test_progress_counts_the_records_read(tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    sweep(MovingList(list(range(6000))), SOME, tmp_path, on_progress=lambda done, of: told.append((done, of)))
    assert told[-1] == (6000, 6000)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_several_pages_are_on_their_way_at_once(tmp_path: Path) -> None:
    class Together(MovingList):
        """Answers no page before four are asked for; notes how many were."""

        inside = 0
        most = 0
        gate = Lock()
        four = Barrier(4)

        def page(
            self, list_call: ListCall, number: int, filters: Mapping[str, str] | None = None, size: int = 100
        ) -> Page:
            with self.gate:
                self.inside += 1
                self.most = max(self.most, self.inside)
            if len(self.asked) >= 2:  # page 1 and the end of the first stretch come alone
                with suppress(BrokenBarrierError):
                    self.four.wait(30)
                self.four.abort()  # seen once, that is enough
            with self.gate:
                self.inside -= 1
            return super().page(list_call, number, filters, size)

    listing = Together(list(range(5000)))
    sweep(listing, SOME, tmp_path, connections=4)
    assert listing.most == 4


# --- drift --------------------------------------------------------------------------------------------------------


def missed(list_call: ListCall, seed: int, landing: Path, *, chance: float, **changes: float) -> tuple[Manifest, int]:
    """Sweep a list that changes at random; return how many records that existed throughout are not in its files."""
    listing = MovingList(list(range(1, 3001)), change=at_random(seed, chance, **changes))  # type: ignore[arg-type]
    manifest = sweep(listing, list_call, landing, connections=1 + seed % 4)
    throughout = set(range(1, 3001)) & set(listing.ids)
    return manifest, len(throughout - landed_ids(home_of(landing, manifest)))


RUNS = pytest.mark.parametrize("number", quick_and_soak([15], [60]))
"""How many times a list that changes at random is read."""


@RUNS
@pytest.mark.parametrize("chance", [0.01, 0.05])
def test_with_totals_nothing_is_missing_when_it_says_complete(chance: float, number: int, tmp_path: Path) -> None:
    """Records are added and removed anywhere between two answers (at 5 %, a change each 20 calls)."""
    runs = [missed(SOME, seed, tmp_path / str(seed), chance=chance) for seed in range(number)]
    assert [count for manifest, count in runs if manifest.complete and count] == []
    complete = sum(manifest.complete for manifest, _ in runs)
    assert complete >= number * (1 if chance == 0.01 else 2 / 3), f"{complete} of {number}"
    assert {manifest.reason for manifest, _ in runs} <= {"", "drift", "total"}


@RUNS
def test_without_totals_nothing_is_missing_when_additions_come_last(number: int, tmp_path: Path) -> None:
    """As ids rise and ``Sort=Id`` is honoured, what is new is at the end."""
    runs = [missed(UNCOUNTED, seed, tmp_path / str(seed), chance=0.05, anywhere=False) for seed in range(number)]
    assert [count for manifest, count in runs if manifest.complete and count] == []
    assert sum(manifest.complete for manifest, _ in runs) >= number * 11 / 12


@RUNS
def test_without_totals_additions_anywhere_are_nearly_always_seen(number: int, tmp_path: Path) -> None:
    """The proviso in ``sweep``: additions and removals that cancel out within one stretch. Measured: 0 and 4 of 60."""
    rare = [missed(UNCOUNTED, seed, tmp_path / f"rare-{seed}", chance=0.01) for seed in range(number)]
    assert sum(manifest.complete and count > 0 for manifest, count in rare) == 0
    often = [missed(UNCOUNTED, seed, tmp_path / f"often-{seed}", chance=0.05) for seed in range(number)]
    assert sum(manifest.complete and count > 0 for manifest, count in often) <= number / 10


def test_a_list_that_never_holds_still_says_so_and_keeps_what_was_read(tmp_path: Path) -> None:
    manifest, _ = missed(SOME, 1, tmp_path, chance=0.9)
    assert (manifest.complete, manifest.reason, manifest.status) == (False, "drift", "finished")
    assert len(landed_ids(home_of(tmp_path, manifest))) > 2000


def test_only_the_part_that_moved_is_read_again(tmp_path: Path) -> None:
    def remove_once(listing: MovingList) -> None:
        if len(listing.asked) == 100:
            listing.remove(5)

    listing = MovingList(list(range(1, 20_001)), change=remove_once)
    manifest = sweep(listing, SOME, tmp_path, connections=1)
    assert (manifest.complete, manifest.total, manifest.total_changes) == (True, 19_999, 1)
    assert manifest.records == 20_000, "the removed record had been read"
    assert 1 <= manifest.repairs <= 2
    assert len(listing.asked) <= 200 + 8 + 3 * 30, "three stretches are open at once"


def test_of_two_versions_of_a_record_the_later_read_is_the_later_file(tmp_path: Path) -> None:
    def edit_and_remove(listing: MovingList) -> None:
        if len(listing.asked) == 30:
            listing.remove(5)
            listing.version = 2  # type: ignore[attr-defined]

    class Versioned(MovingList):
        """Says with each record which version it is."""

        version = 1

        def page(
            self, list_call: ListCall, number: int, filters: Mapping[str, str] | None = None, size: int = 100
        ) -> Page:
            page = super().page(list_call, number, filters, size)
            return replace(page, records=json.dumps([{"id": each, "v": self.version} for each in page.ids]).encode())

    manifest = sweep(Versioned(list(range(1, 5001)), change=edit_and_remove), SOME, tmp_path, connections=1)
    assert manifest.rereads > 0
    last: dict[object, object] = {}
    twice: set[object] = set()
    for record in landed(home_of(tmp_path, manifest)):
        if last.get(record["id"]) not in {None, record["v"]}:
            twice.add(record["id"])
            assert record["v"] == 2, "an older version in a later file"
        last[record["id"]] = record["v"]
    assert twice


# --- interruptions ------------------------------------------------------------------------------------------------


class Failing(MovingList):
    """Fails at one call, once."""

    def __init__(self, ids: list[int], *, at: int, error: Exception) -> None:
        super().__init__(ids)
        self.at, self.error = at, error
        self._door = Lock()

    def page(self, list_call: ListCall, number: int, filters: Mapping[str, str] | None = None, size: int = 100) -> Page:
        with self._door:  # two threads that ask at once must not both pass by the call that fails
            if len(self.asked) == self.at:
                self.at = -1
                raise self.error
            return super().page(list_call, number, filters, size)


@BOTH
@pytest.mark.parametrize("connections", [1, 8])
@pytest.mark.parametrize("at", [0, 1, 3, 27, 60, 103])
def test_an_interrupted_sweep_is_continued(at: int, connections: int, list_call: ListCall, tmp_path: Path) -> None:
    listing = Failing(list(range(1, 10_001)), at=at, error=BudgetExhausted("used up", "later"))
    with pytest.raises(BudgetExhausted):
        sweep(listing, list_call, tmp_path, connections=connections)
    ((home, stopped),) = sweeps(tmp_path / list_call.name)
    assert (stopped.status, stopped.reason, stopped.complete) == ("stopped", "used up", False)
    read_before = {number for _, number in page_files.readings(home)}
    asked_before = len(listing.asked)
    manifest = sweep(listing, list_call, tmp_path, connections=connections)
    assert (home_of(tmp_path, manifest), manifest.complete, manifest.records) == (home, True, 10_000)
    assert landed_ids(home) == set(range(1, 10_001))
    again = [page for page in listing.asked[asked_before:] if page in read_before]
    assert len(again) <= 7, "page 1, where it stopped, and the checks that were due anyway"
    assert manifest.calls_made == len(listing.asked)


@BOTH
@pytest.mark.parametrize("position", [5, 2950, 3050, 5000, 9000])
@pytest.mark.parametrize("connections", [1, 4])
def test_a_change_during_the_interruption_is_noticed(
    position: int, connections: int, list_call: ListCall, tmp_path: Path
) -> None:
    """With several connections the order of the answers decides whether it is repaired or reported as incomplete."""
    listing = Failing(list(range(1, 10_001)), at=60, error=ServiceUnreachable("gone"))
    with pytest.raises(ServiceUnreachable):
        sweep(listing, list_call, tmp_path, connections=connections)
    for _ in range(130):
        listing.remove(position)
    manifest = sweep(listing, list_call, tmp_path, connections=connections)
    missing = set(listing.ids) - landed_ids(home_of(tmp_path, manifest))
    assert not (manifest.complete and missing), f"{len(missing)} records are missing from {min(missing)} on"
    assert manifest.complete or (connections > 1 and manifest.reason in {"drift", "total"}), manifest.reason


@BOTH
def test_what_an_interruption_tears_apart_is_read_again(list_call: ListCall, tmp_path: Path) -> None:
    """More than a page's worth of records leaves the list, so that what was read and what follows do not meet."""
    listing = Failing(list(range(1, 10_001)), at=70, error=ServiceUnreachable("gone"))
    with pytest.raises(ServiceUnreachable):
        sweep(listing, list_call, tmp_path, connections=1)
    ((home, _),) = sweeps(tmp_path / list_call.name)
    finished = max(line["stretch"]["last"] for line in page_files.lines(home, page_files.PROGRESS))  # type: ignore[index]
    for sequence, number in page_files.readings(home):
        if number > finished:
            (home / page_files.page_name(sequence, number)).unlink()
    for _ in range(130):
        listing.remove(5)
    manifest = sweep(listing, list_call, tmp_path, connections=1)
    assert manifest.complete
    assert set(listing.ids) <= landed_ids(home)


def test_a_damaged_page_is_read_again(tmp_path: Path) -> None:
    listing = Failing(list(range(1, 10_001)), at=80, error=ServiceUnreachable("gone"))
    with pytest.raises(ServiceUnreachable):
        sweep(listing, SOME, tmp_path, connections=1)
    ((home, _),) = sweeps(tmp_path / "accounts")
    files = {number: home / page_files.page_name(sequence, number) for sequence, number in page_files.readings(home)}
    whole = files[7].read_bytes()
    files[7].write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))  # the checksum is last
    files[30].write_bytes(b"")
    (home / ".page-000099.json.zst.1.tmp").write_bytes(b"half")
    manifest = sweep(listing, SOME, tmp_path, connections=1)
    assert manifest.complete
    assert landed_ids(home) == set(range(1, 10_001))
    assert [file.name for file in home.iterdir() if file.name.endswith(".tmp")] == []


@pytest.mark.parametrize("change", ["tenant", "since", "age", "finished"])
def test_another_kind_of_sweep_is_begun_anew(change: str, tmp_path: Path) -> None:
    listing = Failing(list(range(1, 501)), at=3, error=ServiceUnreachable("gone"))
    with pytest.raises(ServiceUnreachable):
        sweep(listing, SOME, tmp_path, tenant="a")
    if change == "finished":
        sweep(listing, SOME, tmp_path, tenant="a")
    with time_machine.travel(time.time() + (timedelta(hours=6, minutes=1).total_seconds() if change == "age" else 0)):
        sweep(
            listing,
            SOME,
            tmp_path,
            tenant="b" if change == "tenant" else "a",
            modified_since="2027-01-01T00:00:00" if change == "since" else None,
        )
    assert len(sweeps(tmp_path / "accounts")) == 2


def test_a_sweep_stood_still_since_its_last_stretch_and_not_since_it_began(tmp_path: Path) -> None:
    listing = Failing(list(range(1, 10_001)), at=80, error=ServiceUnreachable("gone"))
    with pytest.raises(ServiceUnreachable):
        sweep(listing, SOME, tmp_path)
    ((home, manifest),) = sweeps(tmp_path / "accounts")
    manifest.touched = "2026-01-01T00:00:00.000+00:00"  # as a run that was killed after many hours leaves it
    (home / page_files.MANIFEST).write_bytes(msgspec.json.encode(manifest))
    sweep(listing, SOME, tmp_path)
    assert len(sweeps(tmp_path / "accounts")) == 1


def test_a_sweep_of_a_clock_that_was_ahead_neither_goes_on_nor_keeps_others_from_going_on(tmp_path: Path) -> None:
    with time_machine.travel(time.time() + timedelta(days=400).total_seconds()):
        listing = Failing(list(range(1, 10_001)), at=80, error=ServiceUnreachable("gone"))
        with pytest.raises(ServiceUnreachable):
            sweep(listing, SOME, tmp_path)
    listing = Failing(list(range(1, 10_001)), at=80, error=ServiceUnreachable("gone"))
    with pytest.raises(ServiceUnreachable):
        sweep(listing, SOME, tmp_path)
    prune(tmp_path / "accounts", keep=1)
    ((home, begun),) = sweeps(tmp_path / "accounts")
    assert begun.started < moment_text()
    assert sweep(listing, SOME, tmp_path).sweep == begun.sweep
    assert landed_ids(home) == set(range(1, 10_001))


MOMENTS = ["asked", "half written", "written", "in place", "noted"]
"""Where a kill finds a sweep: a page is asked for, half in its file, wholly, under its name; a line is half noted."""


def _sweep_and_die(landing: Path, moment: str, at: int) -> None:
    """Sweep, and die by SIGKILL at the ``at``-th ``moment``, with other pages on their way."""
    left = Semaphore(at - 1)
    write, replace_, append = Path.write_bytes, Path.replace, page_files.append_page

    def happens(now: str) -> bool:
        return now == moment and not left.acquire(blocking=False)

    def die_if(now: str) -> None:
        if happens(now):
            os.kill(os.getpid(), signal.SIGKILL)

    class Dying(MovingList):
        def page(
            self, list_call: ListCall, number: int, filters: Mapping[str, str] | None = None, size: int = 100
        ) -> Page:
            die_if("asked")
            return super().page(list_call, number, filters, size)

    def written(file: Path, content: bytes) -> int:
        if happens("half written"):
            write(file, content[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        count = write(file, content)
        die_if("written")
        return count

    def placed(file: Path, name: Path) -> Path:
        found = replace_(file, name)
        die_if("in place")
        return found

    def noted(folder: Path, name: str, line: object) -> None:
        if happens("noted"):
            with (folder / name).open("ab") as lines:
                lines.write(b'\n{"stretch":')
            os.kill(os.getpid(), signal.SIGKILL)
        append(folder, name, line)

    with (
        mock.patch.object(Path, "write_bytes", written),
        mock.patch.object(Path, "replace", placed),
        mock.patch.object(page_files, "append_page", noted),
    ):
        sweep(Dying(list(range(1, 10_001))), UNCOUNTED, landing, connections=3)


@pytest.mark.parametrize("seed", quick_and_soak([0], range(1, 30)))
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at_any_moment_it_goes_on(moment: str, seed: int, tmp_path: Path) -> None:
    """Each process kills itself: the n-th page or line decides when, and never how fast the machine is."""
    choose = random.Random(f"{moment} {seed}")
    spawn = multiprocessing.get_context("fork")
    for _ in range(6):
        at = 1 if moment == "noted" else choose.randint(1, 16)  # together fewer than the list has, so that none ends
        process = spawn.Process(target=_sweep_and_die, args=(tmp_path, moment, at))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        process.close()
    manifest = sweep(MovingList(list(range(1, 10_001))), UNCOUNTED, tmp_path, connections=3)
    assert manifest.complete
    assert landed_ids(home_of(tmp_path, manifest)) == set(range(1, 10_001))
    assert len(sweeps(tmp_path / "assets")) == 1, "it is the one that was begun first"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_leaves_nothing_half_written(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listing = MovingList(list(range(1, 3001)))
    write = Path.write_bytes

    def full(self: Path, content: bytes) -> int:
        if "page-000012" in self.name:
            write(self, content[: len(content) // 2])
            raise OSError(number, os.strerror(number))
        return write(self, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageFull, match="accounts") as caught:
        sweep(listing, SOME, tmp_path, connections=2)
    assert "continues" in caught.value.next_step
    ((home, manifest),) = sweeps(tmp_path / "accounts")
    assert manifest.status == "stopped"
    assert [file.name for file in home.iterdir() if "page-000012" in file.name] == []
    monkeypatch.undo()
    assert sweep(listing, SOME, tmp_path, connections=2).complete
    assert landed_ids(home) == set(range(1, 3001))


# --- hostile records ----------------------------------------------------------------------------------------------


class Hostile(MovingList):
    """Has one record on page 2 that cannot be stored."""

    number: int | None = 150

    def page(self, list_call: ListCall, number: int, filters: Mapping[str, str] | None = None, size: int = 100) -> Page:
        page = super().page(list_call, number, filters, size)
        if number != 2:
            return page
        ids = [each for each in page.ids if each != 150]
        bad = Quarantined(50, "nested too deeply", self.number, b'{"id":150,"x":\xff}')
        return replace(page, ids=ids, records=json.dumps([{"id": i} for i in ids]).encode(), quarantined=(bad,))


@BOTH
def test_a_quarantined_record_is_named_kept_and_counted(list_call: ListCall, tmp_path: Path) -> None:
    manifest = sweep(Hostile(list(range(1, 451))), list_call, tmp_path)
    assert (manifest.complete, manifest.records) == (True, 450)
    (bad,) = manifest.quarantined
    assert (bad.page, bad.position, bad.why, bad.id) == (2, 50, "nested too deeply", 150)
    home = home_of(tmp_path, manifest)
    assert [raw for *_, raw in page_files.quarantined_lines(home)] == [b'{"id":150,"x":\xff}']
    assert landed_ids(home) == set(range(1, 451)) - {150}


def test_a_quarantined_record_without_a_sure_id_leaves_the_sweep_incomplete(tmp_path: Path) -> None:
    listing = Hostile(list(range(1, 451)))
    listing.number = None
    manifest = sweep(listing, SOME, tmp_path)
    assert (manifest.complete, manifest.reason, manifest.records) == (False, "quarantine", 450)


def test_what_duckdb_refuses_can_be_sifted_out(tmp_path: Path) -> None:
    class Repeating(MovingList):
        """Has a record with a key twice, which DuckDB refuses."""

        def page(
            self, list_call: ListCall, number: int, filters: Mapping[str, str] | None = None, size: int = 100
        ) -> Page:
            page = super().page(list_call, number, filters, size)
            return replace(page, records=page.records.replace(b'{"id": 42}', b'{"id": 42, "x": {"a": 1, "a": 2}}'))

    manifest = sweep(Repeating(list(range(1, 301))), SOME, tmp_path)
    home = home_of(tmp_path, manifest)
    columns = "{id: 'BIGINT', x: 'STRUCT(a INT)'}"
    query = f"SELECT count(id), count(x) FROM read_json('{home}/*.json.zst', format='array', columns={columns})"
    with duckdb.connect() as database:
        with pytest.raises(duckdb.Error, match="duplicate"):
            database.execute(query)
        (bad,) = quarantine(home)
        assert (bad.page, bad.position, bad.id) == (1, 42, 42)
        assert database.execute(query).fetchall() == [(299, 0)]
    told = read_manifest(home)
    assert told is not None
    assert told.quarantined == [bad]
    assert quarantine(home) == []


# --- old sweeps ---------------------------------------------------------------------------------------------------


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """A complete full sweep, then three of changes only, then one that was stopped."""
    listing = Failing([1, 2, 3], at=-1, error=ServiceUnreachable("gone"))
    sweep(listing, SOME, tmp_path)
    for _ in range(3):
        sweep(listing, SOME, tmp_path, modified_since="2027-01-01T00:00:00")
    listing.at = len(listing.asked)
    with pytest.raises(ServiceUnreachable):
        sweep(listing, SOME, tmp_path)
    return tmp_path / "accounts"


def test_pruning_keeps_the_newest_and_what_proves_the_whole_list(history: Path) -> None:
    names = sorted(each.name for each in history.iterdir())
    assert len(names) == 5
    complete = latest_complete(history)
    assert complete is not None
    assert complete.name == names[0]
    assert [each.name for each in prune(history, keep=2)] == names[1:3]
    assert sorted(each.name for each in history.iterdir()) == [names[0], *names[3:]]
    assert prune(history, keep=2) == []
    assert prune(history.parent / "contacts") == []


def test_files_are_for_their_owner_only(history: Path) -> None:
    assert {each.stat().st_mode & 0o077 for each in history.iterdir()} == {0}
