"""Read details with one call a record. Each answer is saved at once, so a stop or kill loses only the calls in flight.

::

    <landing>/asset_details/
        20260101T000000000000Z-ab12.part            answers to the current run, a line of JSON a record
        20260101T000000000000Z-ab12.500.ndjson.zst  the same, finished: 500 answers for the next sync to land

A line holds the declared values. They are decoded and checked here: one odd detail must not keep the database from
landing the others. At a few thousand details an hour, checking each costs nothing. A detail also becomes a line if it
fits no database, has another type or is refused by BMS. Such a line has the problem instead of the values.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import msgspec
import zstandard

from bms_pipeline.bms.budget import Budget
from bms_pipeline.bms.spelling import Spelling
from bms_pipeline.bms.sweep import page_files
from bms_pipeline.bms.sweep.manifest import new_sweep_id
from bms_pipeline.bms.sweep.quarantine import repeated_key
from bms_pipeline.core.entities import SCALAR, DetailCall, Entity
from bms_pipeline.core.errors import (
    AccessRefused,
    AnswerUnreadable,
    BudgetExhausted,
    LoginRefused,
    PipelineError,
    RequestRefused,
    ServiceUnreachable,
)

FULL = 500
"""Answers a file: a third of an hour's calls at the vendor's limit."""
IN_A_ROW = 20
"""Problems in a row, without a good answer in between, until the service counts as their cause, not the records."""
DETAIL_BYTES = 2**20
"""Largest detail; a usual one has 3 KB."""

_FINISHED = re.compile(r"^.+\.(\d+)\.ndjson\.zst$")
_TYPES: dict[str, Any] = {"VARCHAR": str, "BIGINT": int, "BOOLEAN": bool, SCALAR: str | int | float | bool}

Value = str | int | float | bool | None

OnProgress = Callable[[int], None]
"""Called with the number of records answered so far."""


class DetailAnswer(msgspec.Struct, omit_defaults=True):
    """The result of one call. ``read_at``: when it was sent, UTC. ``detail``: JSON key → value, None with a problem.

    ``keys``: the keys that were read only because the mapping of that time names them.
    """

    bms_id: int
    read_at: str
    detail: dict[str, Value] | None = None
    problem: str | None = None
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Patience:
    """The longest wait of a run for its next call, in seconds; ``clock`` and ``sleep`` are for tests.

    Calls become free one after another, as they were made an hour ago, so a pause is seldom the end.
    """

    seconds: float = 120.0
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep


class ReadsRecords(Protocol):
    """The part of the client for reading details."""

    @property
    def budget(self) -> Budget:
        """The hour's budget of calls."""

    def record(self, path: str) -> bytes:
        """Read one record."""


@dataclass(frozen=True)
class DetailProgress:
    """Number of records whose details were read, and number of those with a problem instead."""

    read: int
    problems: int


def details_folder(landing: Path, entity: Entity) -> Path:
    """Return the folder for the answers about ``entity``, inside the landing folder."""
    return landing / f"{entity.singular}_details"


def unlanded(folder: Path) -> int:
    """Return the number of answers in finished files, which the next sync lands. Reads only the file names."""
    return sum(int(found.group(1)) for file in _names(folder) if (found := _FINISHED.match(file)))


def finished(folder: Path) -> dict[Path, list[int]]:
    """Return the finished files, oldest first, with the ids of their records.

    Delete damaged files, so that their records are read again.
    """
    files = [folder / name for name in sorted(_names(folder)) if _FINISHED.match(name)]
    return {file: ids for file in files if (ids := _ids(file))}


def finish_parts(folder: Path) -> None:
    """Finish the files of a killed run. Call it only while no run is reading details.

    Raises ``StorageFull`` or ``WarehouseError`` when the folder cannot be written.
    """
    for name in sorted(_names(folder)):
        if name.endswith(".part"):
            _finish(folder / name)


def read_all(
    client: ReadsRecords,
    call: DetailCall,
    ids: Sequence[int],
    folder: Path,
    *,
    connections: int,
    patience: Patience,
    on_progress: OnProgress = lambda answered: None,
) -> DetailProgress:
    """Read the details of the records ``ids``, in this order, until all are read or the hour's calls are used up.

    Every error leaves the earlier answers saved. Raises ``AccessRefused``, ``ServiceUnreachable`` and the client's
    other errors, except those about one record; ``AnswerUnreadable`` after ``IN_A_ROW`` problems in a row;
    ``StorageFull`` and ``WarehouseError``.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    asking = _Asking(client, call, _Answers(folder), patience.clock)
    waiting = deque(ids)
    in_flight: set[Future[_Outcome]] = set()
    with ThreadPoolExecutor(connections, thread_name_prefix="bms-details") as pool:
        try:
            while waiting or in_flight:
                while waiting and len(in_flight) < connections and asking.calls_left > len(in_flight):
                    asking.sent += 1
                    in_flight.add(pool.submit(asking.ask, waiting.popleft(), asking.sent))
                if in_flight:
                    done, in_flight = wait(in_flight, return_when=FIRST_COMPLETED)
                    waiting.extendleft(asking.take(done))
                    on_progress(asking.answered)
                elif asking.is_over or (pause := client.budget.wait(call.endpoint)) > patience.seconds:
                    break
                else:
                    patience.sleep(pause)
        finally:
            done, _ = wait(in_flight)
            with suppress(PipelineError):  # another error is already being raised
                asking.take(done)
            asking.close()
    return DetailProgress(asking.read, asking.problems)


@dataclass(frozen=True)
class _Outcome:
    """The result of the run's ``call``-th call.

    It is an answer, or an error not about this record. ``is_sure``: BMS confirmed it.
    """

    call: int
    bms_id: int
    answer: DetailAnswer | None = None
    error: PipelineError | None = None
    is_sure: bool = True


class _Asking:
    """One run. Any thread asks; a single thread takes the answers and counts.

    ``sent`` counts the calls. ``is_over``: BMS reports its hour as used up, even if our count is lower.
    """

    def __init__(self, client: ReadsRecords, call: DetailCall, answers: _Answers, clock: Callable[[], float]) -> None:
        self.read = 0
        self.problems = 0
        self.sent = 0
        self.is_over = False
        self._client = client
        self._call = call
        self._answers = answers
        self._clock = clock
        self._decoder = _decoder(call)
        self._keys = tuple(key for key, kind in call.wire.items() if kind == SCALAR)
        self._spelt: Spelling | None = None
        self._in_a_row = 0
        self._last_problem = ""
        self._doubtful: list[tuple[int, DetailAnswer]] = []
        self._has_failed = False

    @property
    def answered(self) -> int:
        """Number of records read or noted with a problem."""
        return self.read + self.problems

    @property
    def calls_left(self) -> int:
        """Number of calls allowed now."""
        return 0 if self.is_over else self._client.budget.left(self._call.endpoint)

    def ask(self, bms_id: int, call: int) -> _Outcome:
        """Make the run's ``call``-th call."""
        sent = datetime.fromtimestamp(self._clock(), UTC).replace(tzinfo=None).isoformat()
        try:
            raw = self._client.record(self._call.path.format(id=bms_id))
        except PipelineError as error:
            if _is_about_the_record(error):
                is_sure = isinstance(error, RequestRefused)
                return _Outcome(call, bms_id, DetailAnswer(bms_id, sent, problem=error.message), is_sure=is_sure)
            return _Outcome(call, bms_id, error=error)
        detail, problem = self._checked(bms_id, raw)
        return _Outcome(call, bms_id, DetailAnswer(bms_id, sent, detail, problem, self._keys), is_sure=problem is None)

    def take(self, done: set[Future[_Outcome]]) -> list[int]:
        """Keep the results of these calls. Return the records without a call, which have to wait.

        Takes all results first, then raises the first error not about one record.
        """
        unasked: list[int] = []
        errors: list[PipelineError] = []
        for outcome in (future.result() for future in done):
            if outcome.answer is not None:
                self._keep(outcome.call, outcome.answer, is_sure=outcome.is_sure)
            elif isinstance(outcome.error, BudgetExhausted):
                unasked.append(outcome.bms_id)
                self.is_over |= self._client.budget.wait(self._call.endpoint) == 0
            elif outcome.error is not None:
                errors.append(outcome.error)
        if self._in_a_row >= IN_A_ROW:
            errors.append(
                AnswerUnreadable(
                    f"{self._in_a_row} details in a row could not be read, the last because: {self._last_problem}",
                    "What was read is kept. Run again when BMS works again; if it stays, its API changed.",
                )
            )
        if errors:
            self._has_failed = True
            raise errors[0]
        return unasked

    def close(self) -> None:
        """Finish the file. Note doubtful problems unless the service has failed."""
        if not self._has_failed:
            self._note_doubtful(self.sent + 1)
        self._answers.close()

    def _note_doubtful(self, good_call: int) -> None:
        """Note the doubtful problems from before ``good_call``, a later call with a good answer."""
        for sent, answer in self._doubtful:
            if sent < good_call:
                self._note(answer)
        self._doubtful = [doubtful for doubtful in self._doubtful if doubtful[0] >= good_call]

    def _keep(self, call: int, answer: DetailAnswer, *, is_sure: bool) -> None:
        """Note an answer. A doubtful problem waits for a later good answer, which shows that the service works."""
        if answer.problem is None:
            self._in_a_row = 0
            self._note_doubtful(call)
        else:
            self._in_a_row += 1
            self._last_problem = answer.problem
        if is_sure:
            self._note(answer)
        else:
            self._doubtful.append((self.sent, answer))

    def _note(self, answer: DetailAnswer) -> None:
        self._answers.add(answer)
        if answer.problem is None:
            self.read += 1
        else:
            self.problems += 1

    def _checked(self, bms_id: int, raw: bytes) -> tuple[dict[str, Value] | None, str | None]:
        """Return the declared values of a detail, or the problem with it."""
        if len(raw) > DETAIL_BYTES:
            return None, f"larger than {DETAIL_BYTES // 2**20} MB"
        try:
            raw.decode()
            if (why := repeated_key(raw)) is not None:
                return None, why
            detail: dict[str, Any] = msgspec.to_builtins(self._decoder.decode(self._spelling(raw).declared(raw)))
        except RecursionError:
            return None, "nested too deeply"
        except ValueError as error:
            return None, str(error).partition(" (byte")[0]
        found = detail.pop("id", None)
        if found != bms_id:
            return None, "it has no id" if found is None else f"it is the detail of record {found}"
        return (detail, None) if detail else (None, "it has none of the fields that are read")

    def _spelling(self, raw: bytes) -> Spelling:
        """Return the service's spelling of keys, which the first detail decides."""
        if self._spelt is None:
            self._spelt = Spelling(("id", *self._call.wire), raw)
        return self._spelt


class _Answers:
    """The file of a run, followed by a new one whenever it is full."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self._begin()

    def add(self, answer: DetailAnswer) -> None:
        """Append an answer. Once appended, it survives a kill."""
        page_files.append_page(self._folder, self._name, answer)
        self._count += 1
        if self._count >= FULL:
            self.close()
            self._begin()

    def close(self) -> None:
        """Finish the file."""
        if self._count:
            _finish(self._folder / self._name)
            self._count = 0

    def _begin(self) -> None:
        self._name = f"{new_sweep_id()}.part"


def _is_about_the_record(error: PipelineError) -> bool:
    """Return whether the next record may succeed. After a 500 at every try, record or service may be the cause."""
    if isinstance(error, RequestRefused):
        return not isinstance(error, AccessRefused | LoginRefused)
    return isinstance(error, AnswerUnreadable) or (isinstance(error, ServiceUnreachable) and error.status == 500)


def _finish(part: Path) -> None:
    """Compress a file under its final name. The name stays the same if a kill makes a later run repeat this."""
    lines = [msgspec.json.encode(line) for line in page_files.lines(part.parent, part.name)]
    if lines:
        content = zstandard.ZstdCompressor(write_checksum=True).compress(b"\n".join(lines) + b"\n")
        page_files.write_page(part.parent, f"{part.stem}.{len(lines)}.ndjson.zst", content)
    part.unlink()


def _ids(file: Path) -> list[int]:
    try:
        lines = zstandard.ZstdDecompressor().decompress(file.read_bytes()).splitlines()
        return [msgspec.json.decode(line, type=DetailAnswer).bms_id for line in lines]
    except FileNotFoundError:  # a sync landed it in the meantime
        return []
    except (OSError, ValueError, zstandard.ZstdError):
        file.unlink(missing_ok=True)
        return []


def _names(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir()] if folder.is_dir() else []


def _decoder(call: DetailCall) -> msgspec.json.Decoder[Any]:
    """Return a decoder for the id and the declared keys. A key may be null or missing, which differ."""
    unset = msgspec.UNSET
    keys = [(key, _TYPES[kind] | None | msgspec.UnsetType, unset) for key, kind in call.wire.items()]
    return msgspec.json.Decoder(msgspec.defstruct("Detail", [("id", int | None, None), *keys]))
