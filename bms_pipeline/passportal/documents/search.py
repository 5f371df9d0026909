"""Finding the documents of writes by their markers, because no answer has a new document's id [D].

    newest documents ──▶ client by client, newest first ──▶ the same again, a few times, a while later

Only documents with the write's marker inside the write's client count.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from bms_pipeline.core.entities import Entity
from bms_pipeline.passportal.documents import encoding, pace
from bms_pipeline.passportal.documents.client import PAGE_SIZE, DocumentsClient, Row
from bms_pipeline.passportal.documents.memory import RememberedDocuments
from bms_pipeline.passportal.documents.reader import DocumentReader
from bms_pipeline.passportal.target import Write


class MarkerSearch:
    """Looks for markers in the lists of ``client``; reads by ``reader`` the documents whose list does not show it."""

    def __init__(
        self,
        client: DocumentsClient,
        memory: RememberedDocuments,
        reader: DocumentReader,
        sleep: Callable[[float], None],
    ) -> None:
        self._client = client
        self._memory = memory
        self._reader = reader
        self._sleep = sleep

    def look_repeatedly(self, entity: Entity, writes: Sequence[Write], *, at_once: bool) -> dict[int, str]:
        """Return BMS id → document id; search for missing ones again after a while, a few times.

        Unless ``at_once``, a new document is read only when its reading is a settled one.
        """
        found = self.look_once(entity, writes, at_once=at_once)
        for seconds in pace.LOOK_AGAIN_AFTER:
            missing = [write for write in writes if write.bms_id not in found]
            if not missing:
                break
            self._sleep(seconds)
            found |= self.look_once(entity, missing, at_once=at_once)
        return found

    def look_once(self, entity: Entity, writes: Sequence[Write], *, at_once: bool) -> dict[int, str]:
        """Look for these markers: among the newest documents first, then client by client, the newest first."""
        clients = {write.bms_id: write.client_id for write in writes}
        found: dict[int, str] = {}
        if not clients:
            return found
        page_size = min(PAGE_SIZE, 2 * max(pace.NEW_IN_ONE_CALL, len(clients)))
        newest = self._client.pages(entity.singular, newest_first=True, page_size=page_size)
        rows = itertools.chain.from_iterable(itertools.islice(newest, math.ceil(len(clients) / page_size)))
        self._take(entity, rows, clients, found, at_once=at_once)
        for client_id in dict.fromkeys(clients.values()):
            wanted = {id_ for id_, client in clients.items() if client == client_id}
            pages = self._client.pages(entity.singular, client_id=client_id, newest_first=True)
            while wanted - found.keys() and (page := next(pages, [])):
                self._take(entity, page, clients, found, at_once=at_once)
        return found

    def _take(
        self,
        entity: Entity,
        page: Iterable[Row],
        clients: Mapping[int, str | None],
        found: dict[int, str],
        *,
        at_once: bool,
    ) -> None:
        """Note the documents with a wanted marker; read only those not read yet."""
        wanted = set(clients.values())
        rows = {row.id: row for row in map(encoding.decoded_document, page) if row.client_id in wanted}
        known = self._memory.markers(entity.singular, list(rows))
        markers = {id_: row.marker or known.get(id_, ("", None))[1] for id_, row in rows.items()}
        unread = {
            id_: 0.0 if at_once else self._reader.settled_from(row.last_modified)
            for id_, row in rows.items()
            if row.marker is None and (id_ not in known or known[id_][0] != row.last_modified)
        }
        markers |= {document.id: document.marker for document in self._reader.read_documents(entity, unread)}
        for id_, marker in markers.items():
            if marker is not None and clients.get(marker, "") == rows[id_].client_id:
                found.setdefault(marker, id_)
