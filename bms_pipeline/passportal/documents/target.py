"""Passportal by its Documents API: lists and writes everything the API allows.

Clients and users are only ever read: no call creates or changes them [D]. The work is done by one piece each::

    snapshot ─▶ reader, templates      create ─▶ change (markers taken off), then creation ─▶ templates, trials
    find ─────▶ search ─▶ reader       update ─▶ change              both ─▶ sending, flow, memory
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from bms_pipeline.core.entities import ENTITIES, Entity
from bms_pipeline.core.mapping import DEFAULT, Mapping
from bms_pipeline.core.settings import Settings
from bms_pipeline.passportal import snapshots
from bms_pipeline.passportal.documents import pace
from bms_pipeline.passportal.documents.change import DocumentChange
from bms_pipeline.passportal.documents.client import DocumentsClient, base_address
from bms_pipeline.passportal.documents.creation import DocumentCreation
from bms_pipeline.passportal.documents.flow import Flow
from bms_pipeline.passportal.documents.habits import NOTHING_KNOWN, WritingHabits, check_marker, dialect_for
from bms_pipeline.passportal.documents.labels import store_labels
from bms_pipeline.passportal.documents.last_write import LastWrite
from bms_pipeline.passportal.documents.memory import RememberedDocuments
from bms_pipeline.passportal.documents.reader import DocumentReader
from bms_pipeline.passportal.documents.required import read_required
from bms_pipeline.passportal.documents.search import MarkerSearch
from bms_pipeline.passportal.documents.sending import WriteSender
from bms_pipeline.passportal.documents.templates import DocumentTemplates, chosen_templates
from bms_pipeline.passportal.documents.trials import TemplateTrials
from bms_pipeline.passportal.target import Leaving, Write, Written, unmarked
from bms_pipeline.state.opening import open_state


class DocumentsPassportal:
    """The Passportal named in the settings, with its documents by ``mapping``. ``clock`` and ``sleep`` are for tests.

    Raises ``SettingsError`` for impossible settings, before any call.
    """

    can_write = frozenset(entity.name for entity in ENTITIES if entity.has_client)
    batch_size = 1000

    def __init__(
        self,
        settings: Settings,
        mapping: Mapping = DEFAULT,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = f"documents_api {base_address(settings)}"
        self.can_list = self.can_write | {"clients"} | ({"users"} if settings.passportal_users_file else set())
        self.unknown_seconds = settings.passportal_unknown_seconds
        self._labels_file = settings.labels_file
        self._users_file = settings.passportal_users_file
        self._settings, self._clock, self._sleep = settings, clock, sleep
        self._last_write = LastWrite(open_state(settings), clock)
        self._client = client = DocumentsClient(settings, clock=clock, sleep=sleep, before_write=self._last_write)
        self._memory = memory = RememberedDocuments(settings.documents_file, mapping)
        connections = settings.passportal_connections
        self._flow = flow = Flow(connections, clock=clock, sleep=sleep)
        self._reader = reader = DocumentReader(
            client, memory, flow, connections=connections, clock=clock, mapping=mapping
        )
        self._search = MarkerSearch(client, memory, reader, sleep)
        self._habits, self._mapping = NOTHING_KNOWN, mapping
        self._required = read_required(settings.passportal_templates_file)
        self._assemble()

    def learn(self, habits: WritingHabits) -> None:
        """Write in the forms that this Passportal was seen to take, where no person chose a form."""
        if habits != self._habits:
            self._habits = habits
            self._assemble()

    @property
    def can_link(self) -> bool:
        """Whether ``doctor --write`` saw a link to be kept that was sent by its id."""
        return self._habits.keeps_links

    def _assemble(self) -> None:
        """Make the pieces that depend on the form of a write."""
        settings, client, memory, reader = self._settings, self._client, self._memory, self._reader
        dialect, chosen = dialect_for(settings, self._habits), chosen_templates(settings.passportal_templates)
        sender = WriteSender(client, dialect, self._habits.prefix)
        self._templates = templates = DocumentTemplates(chosen, memory, reader, dialect, self._mapping, self._required)
        trials = TemplateTrials(client, memory, reader, self._search, dialect, self._sleep)
        self._creation = DocumentCreation(self._flow, sender, self._search, templates, trials)
        self._change = DocumentChange(client, self._flow, sender, reader, dialect, self._clock, self._mapping)

    def close(self) -> None:
        """Close every connection."""
        self._client.close()

    def snapshot(self, entity: Entity, file: Path) -> None:
        """See ``Target.snapshot``."""
        if entity.name in self.can_write:
            with self._memory.opened():
                self._reader.list_documents(entity)
                self._reader.read_details(entity)
                self._memory.write_snapshot(entity, file, self._templates.new_records(entity))
                store_labels(self._labels_file, entity, self._memory.labels(entity))
        elif entity.name == "clients":
            rows = [{"passportal_id": id_, "name": name} for id_, name in self._client.clients().items()]
            snapshots.write_snapshot(entity, file, rows)
        else:
            snapshots.write_snapshot(entity, file, snapshots.users_in(self._users_file) if self._users_file else [])

    def snapshot_known(self, entity: Entity, file: Path) -> int:
        """See ``Target.snapshot_known``."""
        with self._memory.opened():
            self._memory.write_snapshot(entity, file, self._templates.new_records(entity, only_known=True))
            return len(self._memory.unread(entity))

    def find(self, entity: Entity, writes: Sequence[Write]) -> dict[int, str]:
        """See ``Target.find``. The search for a missing document is repeated after a while, a few times."""
        few = len(writes) < pace.FEW
        with self._memory.opened():
            found = self._search.look_repeatedly(entity, writes, at_once=few)
        if few:
            self._reader.read_again_later(entity, found.values())
        return found

    def last_write_at(self) -> datetime | None:
        """See ``Target.last_write_at``."""
        return self._last_write.read()

    def create(self, entity: Entity, writes: Sequence[Write], leaving: Leaving = unmarked) -> list[Written]:
        """See ``Target.create``."""
        self._check_can_write(entity)
        with self._memory.opened():
            self._change.release(entity, writes, leaving)
            return self._creation.create(entity, writes, leaving)

    def update(self, entity: Entity, writes: Sequence[Write], leaving: Leaving = unmarked) -> list[Written]:
        """See ``Target.update``."""
        self._check_can_write(entity)
        with self._memory.opened():
            outcomes = self._change.update(entity, writes, leaving)
        if len(writes) < pace.FEW:
            self._reader.read_again_later(entity, [write.passportal_id for write in writes if write.passportal_id])
        return outcomes

    def _check_can_write(self, entity: Entity) -> None:
        if entity.name not in self.can_write:
            raise AssertionError(f"no call of the Documents API writes {entity.name}")
        check_marker(dialect_for(self._settings, self._habits), self._habits)
