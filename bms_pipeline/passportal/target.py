"""The interface to Passportal for the pipeline, independent of the way to reach it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable

from bms_pipeline.core.entities import Entity, EntityName
from bms_pipeline.core.vocabulary import Outcome


@dataclass(frozen=True)
class Write:
    """One record to create (``passportal_id`` is None) or to update.

    ``values``: column → text to write, None to blank it; other columns stay. A link by the mapping has
    ``#`` and the id of the linked document. ``before``: the values seen by the plan
    in these columns; a record with other values by now is refused. ``bms_id`` is also written as the record's marker,
    in place of the marker of ``replaces_marker_of``; a record with any other marker is refused. ``unmark_id``: the
    record that loses the marker ``bms_id`` first; if it is the written record itself, it ends without a marker.
    ``template_id``: the template of a record to create; empty for the target's own choice.
    """

    bms_id: int
    client_id: str | None
    passportal_id: str | None = None
    values: dict[str, str | None] = field(default_factory=dict)
    before: dict[str, str | None] = field(default_factory=dict)
    replaces_marker_of: int | None = None
    unmark_id: str | None = None
    template_id: str = ""

    @property
    def marker(self) -> int | None:
        """The record's marker in the end."""
        return None if self.unmark_id is not None and self.unmark_id == self.passportal_id else self.bms_id


@dataclass(frozen=True)
class Written:
    """The outcome of a write.

    Done, refused with the reason in ``detail``, unknown because its answer was lost, or not sent because a fact is
    missing; then it is offered again. ``is_ours``: whether the record is there and has no other record's marker.
    ``of_values``: the service itself refused what was sent, so the same would be refused again.
    """

    bms_id: int
    outcome: Outcome
    detail: str = ""
    is_ours: bool = True
    of_values: bool = False


Leaving: TypeAlias = Callable[[Collection[int]], None]
"""Makes durable which BMS ids leave with the next call. After its error the call must not be made."""


def unmarked(bms_ids: Collection[int]) -> None:
    """Mark nothing: for calls outside of a load."""


@runtime_checkable
class KnowsRecords(Protocol):
    """A target able to show its records as of the last reading, so that another mapping can be tried without calls."""

    def snapshot_known(self, entity: Entity, file: Path) -> int:
        """Write a snapshot from what is known here, without any call to a service.

        Return how many documents ``Target.snapshot`` would read again.
        """
        ...


class Target(Protocol):
    """A Passportal tenant.

    Every call may raise ``ServiceError`` or ``WarehouseError``; after one, whether the write took effect is *unknown*;
    ``find`` shows it.
    """

    name: str
    """The name of this Passportal, for people and to keep a home folder to one: ``documents_api https://host``."""
    can_write: frozenset[EntityName]
    """The entities whose records it creates and changes; the public API can write documents only [D]."""
    can_list: frozenset[EntityName]
    """The entities whose records it can list now; a snapshot of any other is empty."""
    batch_size: int
    """The number of writes in a call of ``create``, ``update`` or ``find``."""
    unknown_seconds: float
    """How long after a call left its write may still take effect; 0 where an answer or none settles it at once."""

    @property
    def can_link(self) -> bool:
        """Whether it is known to keep a link to another document that is sent by its id."""
        ...

    def close(self) -> None:
        """Close every connection."""
        ...

    def snapshot(self, entity: Entity, file: Path) -> None:
        """Write all records of ``entity`` to the Parquet ``file``.

        Columns: ``passportal_id, client_id, bms_id`` (the marker), ``last_modified`` and ``entity.columns``; where the
        target knows them, also ``claimed_id`` (a BMS id other than our marker), ``places`` (the writable columns of the
        record, NULL for all), ``template`` and ``template_id`` (the deciding template, by name and by id). The
        file's metadata ``new_records`` is JSON with the same for new records: ``template``, ``template_id``,
        ``places``, ``needs`` (the labels required by the template, each with the ``field`` filling it, or null,
        and ``is_learned`` where only a refusal showed it) and ``problem``, a ``NewRecords`` word or null; its list
        ``templates`` has the same for each template named by the mapping. Without it they can hold everything.
        """
        ...

    def create(self, entity: Entity, writes: Sequence[Write], leaving: Leaving = unmarked) -> list[Written]:
        """Create records. Like the real service it does not return the new ids [D]: ``find`` them.

        Takes up to ``batch_size`` writes and may cut them into several calls to the service. Calls ``leaving`` before
        each of these, from whichever thread makes it.
        """
        ...

    def update(self, entity: Entity, writes: Sequence[Write], leaving: Leaving = unmarked) -> list[Written]:
        """Change records and set or take off their marker, leaving every other value as it is.

        ``leaving``: see ``create``; a write that needs no call is not marked.
        Done means: a later reading shows it. After an error in the middle the outcomes of all writes are returned,
        unsent ones as ``NOT_SENT``. The error is raised when no write had an outcome.
        """
        ...

    def find(self, entity: Entity, writes: Sequence[Write]) -> dict[int, str]:
        """Return ``bms_id`` → ``passportal_id`` of the records with these markers inside the writes' clients."""
        ...

    def last_write_at(self) -> datetime | None:
        """Return the last moment (UTC) at which a write may have left this home folder, also by a killed process.

        None where no write ever left, or where ``unknown_seconds`` is 0.
        """
        ...
