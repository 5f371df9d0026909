"""The file of a portion: which operations left with a call, and their outcomes, durable without the database.

The intents of a portion are in the database. Opening it costs 20 ms and a transaction more, so the calls of a portion
are noted in ``calls/<portion>.log``: a line of JSON with a checksum before each call (its *mark*) and one after it (its
outcomes), each synced before the next step. ``Warehouse.open`` takes the file in; see ``outcomes``::

    header  mark  outcomes  mark  outcomes  mark ░░░░░░░░░░
    ─────────────── written so far ───────────── zero bytes: filler

The file ends in filler, which is enlarged before a line is written over it. So a kill in the middle of a line leaves
filler behind this line. A file without filler at its end was cut by something else: then marks may be missing.

The sending process holds the file (``flock``) for as long as it lives. Nobody takes in a held file.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from bms_pipeline.core.errors import RunLocked
from bms_pipeline.core.files import make_durable
from bms_pipeline.core.vocabulary import Outcome
from bms_pipeline.warehouse import lines
from bms_pipeline.warehouse.causes import translate_errors

_log = logging.getLogger(__name__)

_SUFFIX = ".log"
_FILLER = 1 << 16
"""The growth of a file at a time."""
_LONGEST_DETAIL = 1000
"""The number of characters to keep of a reason."""


@dataclass(frozen=True)
class Sent:
    """The outcomes of a call: BMS id → Passportal id if done; BMS id → reason if refused, unknown or not sent.

    ``of_values``: the refused whose values Passportal itself refused.
    """

    done: Mapping[int, str] = field(default_factory=dict)
    refused: Mapping[int, str] = field(default_factory=dict)
    unknown: Mapping[int, str] = field(default_factory=dict)
    not_sent: Mapping[int, str] = field(default_factory=dict)
    of_values: Collection[int] = ()

    def by_outcome(self) -> dict[Outcome, Mapping[int, str]]:
        """Return the four mappings by outcome."""
        return {
            Outcome.DONE: self.done,
            Outcome.REFUSED: self.refused,
            Outcome.UNKNOWN: self.unknown,
            Outcome.NOT_SENT: self.not_sent,
        }


@dataclass(frozen=True)
class Calls:
    """The content of a portion's file: ``marked`` by BMS id with the moment of its mark, and the ``answers`` in order.

    ``problem`` says why marks may be missing; it is empty where the file is whole.
    """

    marked: Mapping[int, datetime]
    answers: list[tuple[datetime, Sent]]
    problem: str = ""


class Portion:
    """The file of the running portion. Use it as a context manager: it is released at the end."""

    def __init__(self, file: Path, descriptor: int, check: Callable[[], None] | None = None) -> None:
        self._file = file
        self._descriptor = descriptor
        self._check = check
        self._end = 0
        self._lines = 0

    def __enter__(self) -> Portion:
        """Hold the file."""
        return self

    def __exit__(self, *_: object) -> None:
        """Release the file: the next process to open the warehouse takes it in."""
        os.close(self._descriptor)

    def mark(self, bms_ids: Collection[int], now: datetime) -> None:
        """Store durably: these operations leave now.

        Raises ``RunLocked`` where the file is no longer in its place: another run took over. Raises ``StorageFull``
        and the like where the mark cannot be written, and what ``check`` raises. Either way nothing may be sent.
        """
        if self._check is not None:
            self._check()
        if not self._is_in_place():
            raise RunLocked(
                f"{self._file} is not there any more: another run took over, or somebody deleted it. Nothing more is"
                " sent.",
                "What was done is kept. Run again when the other run is over: what was sent is looked up first.",
            )
        self._append({"at": now.isoformat(), "leave": list(bms_ids)})

    def answer(self, sent: Sent, now: datetime) -> None:
        """Store the outcomes of operations durably. Raises ``StorageFull`` and the like; then they stay unknown."""
        became = {
            outcome.value: {
                str(bms_id): text if outcome is Outcome.DONE else text[:_LONGEST_DETAIL]
                for bms_id, text in found.items()
            }
            for outcome, found in sent.by_outcome().items()
            if found
        }
        of_values = {"of_values": sorted(sent.of_values)} if sent.of_values else {}
        self._append({"at": now.isoformat(), "became": became, **of_values})

    def _append(self, content: dict[str, Any]) -> None:
        line = lines.encoded({"line": self._lines, **content})
        with translate_errors(self._file):
            needed = self._end + len(line) + 1
            if os.fstat(self._descriptor).st_size < needed:
                os.ftruncate(self._descriptor, needed + _FILLER)
            written = 0
            while written < len(line):
                written += os.pwrite(self._descriptor, line[written:], self._end + written)
            os.fsync(self._descriptor)
        self._end += len(line)
        self._lines += 1

    def _is_in_place(self) -> bool:
        with translate_errors(self._file):
            try:
                return os.path.samestat(self._file.stat(), os.fstat(self._descriptor))
            except FileNotFoundError:
                return False


def begun(database: Path, number: int, check: Callable[[], None] | None = None) -> Portion:
    """Make the file of portion ``number`` and hold it. It has to be there before the portion's intents are durable.

    ``check`` runs before each mark, and raises where nothing may be sent.
    """
    file = portions_folder(database) / f"{number}{_SUFFIX}"
    with translate_errors(file):
        file.parent.mkdir(exist_ok=True, mode=0o700)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        portion = Portion(file, descriptor, check)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            portion._append({"portion": number})
            make_durable(file.parent)
        except BaseException:
            os.close(descriptor)
            raise
    return portion


def portions_folder(database: Path) -> Path:
    """Return the folder of the files of this database's portions."""
    return database.with_name("calls")


def files_of(database: Path) -> list[Path]:
    """Return the files of portions running or waiting to be taken in, in their order."""
    return sorted(
        (file for file in portions_folder(database).glob(f"*{_SUFFIX}") if file.stem.isdecimal()), key=portion_number
    )


def portion_number(file: Path) -> int:
    """Return the number of the portion with this file."""
    return int(file.stem)


@contextlib.contextmanager
def let_go(file: Path) -> Iterator[Calls | None]:
    """Hold ``file`` and yield its content; None where a living process holds it, or where it is gone by now."""
    with contextlib.ExitStack() as held:
        with translate_errors(file):
            try:
                descriptor = os.open(file, os.O_RDONLY)
                held.callback(os.close, descriptor)
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                content = file.read_bytes()
            except (FileNotFoundError, BlockingIOError):
                content = None
        yield None if content is None else read_portion(content, file)


def held(database: Path) -> list[Path]:
    """Return the files held by a living process."""
    found = []
    for file in files_of(database):
        with let_go(file) as calls:
            if calls is None and file.exists():
                found.append(file)
    return found


def read_portion(content: bytes, file: Path) -> Calls:
    """Decode the ``content`` of a portion's file.

    Half a line at the end is a mark or an answer whose writing was interrupted by a kill. After half a mark, the call
    did not leave; after half an answer, the operations stay marked.
    """
    written = content.rstrip(b"\0")
    *whole, rest = written.split(b"\n")
    entries = [lines.decoded_line(line) for line in whole]
    # Only its end is missing or damaged, so it counts.
    last = lines.decoded_line(rest) or lines.decoded_line(rest[:-1])
    entries += [last] if last is not None else []
    known = [entry for entry in entries if entry is not None]
    problem = ""
    if written == content:
        problem = f"{file} was cut off"
    elif len(known) < len(entries):
        problem = f"{len(entries) - len(known):,} lines of {file} are damaged"
    elif not known or known[0].get("portion") != portion_number(file):
        problem = f"{file} has lost its beginning"
    elif [entry.get("line") for entry in known] != list(range(len(known))):
        problem = f"lines of {file} are missing"
    marked: dict[int, datetime] = {}
    answers: list[tuple[datetime, Sent]] = []
    for entry in known:
        if "leave" in entry:
            marked |= dict.fromkeys(entry["leave"], datetime.fromisoformat(entry["at"]))
        elif "became" in entry:
            became = {
                outcome: {int(bms_id): text for bms_id, text in entry["became"].get(outcome.value, {}).items()}
                for outcome in Sent().by_outcome()
            }
            sent = replace(Sent(*became.values()), of_values=entry.get("of_values", ()))
            answers.append((datetime.fromisoformat(entry["at"]), sent))
    return Calls(marked, answers, problem)
