"""What the stand-in for Passportal holds: clients, users and documents, in memory and in an NDJSON file.

Each change is appended to the file before it is answered, so a stand-in that is killed has it when it starts again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from bms_sandbox.documents_api.templates import TEMPLATES, Template

FIRST_NEW_ID = 60_000_000
"""The id of the first record that is not of the tenant: all of its own are lower."""


class Link(msgspec.Struct, frozen=True):
    """A value that points to another document."""

    text: str
    id: int
    type: str


Value = str | Link
"""What a record holds under a label; nothing blank is held."""


class Record(msgspec.Struct, omit_defaults=True):
    """A client, a user or a document (then ``type`` is its type). ``modified``: seconds since the epoch.

    Nothing is ever deleted in Passportal; what is ``disabled`` is shown to nobody.
    """

    id: int
    type: str
    title: str
    modified: int
    values: dict[str, Value] = {}  # a copy of its own for each record, as msgspec does it
    client_id: int | None = None
    template: int | None = None
    description: str | None = None
    custom_id: str | None = None
    disabled: bool = False


class Selection(NamedTuple):
    """What a list of documents is narrowed to, and its order."""

    type: str | None = None
    template: int | None = None
    client_id: int | None = None
    text: str = ""
    by: str = "id"
    descending: bool = False


class Store:
    """The records of the tenant whose file is ``file``; its documents are made by ``templates``."""

    def __init__(self, file: Path, templates: Mapping[int, Template] = TEMPLATES) -> None:
        self._file = file
        self.templates = templates
        self._decoder = msgspec.json.Decoder(Record)
        self._selected: dict[Selection, list[Record]] = {}
        self._inside: dict[int | None, dict[int, Record]] = {}
        self._last_id = FIRST_NEW_ID - 1
        self.records: dict[int, Record] = {}
        if file.exists():
            self._read()

    @classmethod
    def make(cls, file: Path, records: Iterable[Record]) -> None:
        """Write a store's file, whole or not at all."""
        partial = file.with_name(f"{file.name}.partial")
        partial.write_bytes(msgspec.json.Encoder().encode_lines(list(records)))
        partial.replace(file)

    def put(self, records: Iterable[Record]) -> None:
        """Hold ``records``, in place of those with the same ids."""
        held = list(records)
        with self._file.open("ab") as lines:
            lines.write(msgspec.json.Encoder().encode_lines(held))
        self._hold(held)

    def new_id(self) -> int:
        """An id that no record ever had."""
        self._last_id += 1
        return self._last_id

    def client(self, client_id: int) -> Record | None:
        """The client with this id."""
        found = self.records.get(client_id)
        return found if found is not None and found.type == "client" and not found.disabled else None

    def document(self, document_id: int) -> Record | None:
        """The document with this id."""
        found = self.records.get(document_id)
        return found if found is not None and found.template is not None and not found.disabled else None

    def of_type(self, kind: str) -> list[Record]:
        """The clients or the users, by id."""
        return self._select(Selection(type=kind), documents=False)

    def documents(self, selection: Selection) -> list[Record]:
        """The documents of ``selection`` in its order."""
        return self._select(selection, documents=True)

    def _select(self, wanted: Selection, *, documents: bool) -> list[Record]:
        found = self._selected.get(wanted)
        if found is None:
            found = [
                each
                for each in self._among(wanted.client_id)
                if (each.template is not None) is documents and not each.disabled and _fits(each, wanted)
            ]
            found.sort(key=lambda each: (each.title.casefold() if wanted.by == "label" else "", each.id))
            if wanted.descending:
                found.reverse()
            self._selected[wanted] = found
        return found

    def _read(self) -> None:
        lines = self._file.read_bytes().split(b"\n")
        # The last one is empty, or torn by a kill: then its call was never answered.
        self._hold(self._decoder.decode(line) for line in lines[:-1])
        self.make(self._file, self.records.values())

    def _hold(self, records: Iterable[Record]) -> None:
        for each in records:
            self.records[each.id] = each
            self._inside.setdefault(each.client_id, {})[each.id] = each
            self._last_id = max(self._last_id, each.id)
        self._selected.clear()

    def _among(self, client_id: int | None) -> Iterable[Record]:
        return self.records.values() if client_id is None else self._inside.get(client_id, {}).values()


def _fits(record: Record, wanted: Selection) -> bool:
    return (
        wanted.type in (None, record.type)
        and wanted.template in (None, record.template)
        and wanted.client_id in (None, record.client_id)
        and wanted.text.casefold() in record.title.casefold()
    )
