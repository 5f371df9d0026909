"""The memory of Passportal's documents between runs, in a DuckDB file of its own. Losing it costs calls only.

Rows of the list are kept whole. Of a document's details the synced fields and the marker are kept; of any other label
only its form, and whether it is filled: the other content of a tenant's documents is none of our business. Deleted text
stays in a DuckDB file.

A reading knows its labels. Where the mapping has another one since, only the documents filled under it are read again.
A label of a text and the same label of a link are two.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from bms_pipeline.core.entities import Entity
from bms_pipeline.core.errors import WarehouseDamaged
from bms_pipeline.core.mapping import DEFAULT, folded_label
from bms_pipeline.core.mapping import Mapping as FieldMapping
from bms_pipeline.passportal.documents.encoding import (
    ID_LABEL,
    KIND_LABEL,
    NOTES,
    DetailsForm,
    Document,
    Element,
    marker_in,
    our_labels,
    titles_are_encoded,
)
from bms_pipeline.passportal.documents.labels import Label, TemplateLabels, form_of
from bms_pipeline.warehouse import sql
from bms_pipeline.warehouse.causes import side_files, translate_errors
from bms_pipeline.warehouse.connection import connect, create_atomically, transaction
from bms_pipeline.warehouse.relations import temporary

_LISTED = "id VARCHAR, client_id VARCHAR, title VARCHAR, template_id VARCHAR, template VARCHAR, marker BIGINT,"
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS listed (
    type VARCHAR, {_LISTED} last_modified VARCHAR, readable BOOLEAN, raw_title VARCHAR
);
CREATE TABLE IF NOT EXISTS details (
    type VARCHAR, id VARCHAR, last_modified VARCHAR, settled BOOLEAN, looked_for VARCHAR[],
    fields MAP(VARCHAR, VARCHAR), filled VARCHAR[], marker BIGINT, claim BIGINT, template_id VARCHAR, layout VARCHAR
);
CREATE TABLE IF NOT EXISTS template_fields (template_id VARCHAR, label VARCHAR, name VARCHAR, key VARCHAR);
CREATE TABLE IF NOT EXISTS templates (template_id VARCHAR, document_id VARCHAR, looked_at DOUBLE, is_whole BOOLEAN);
CREATE TABLE IF NOT EXISTS trials (template_id VARCHAR, dialect VARCHAR, document_id VARCHAR, labels VARCHAR[]);
CREATE TABLE IF NOT EXISTS needed (template_id VARCHAR, label VARCHAR);
"""
_OF_THIS_VERSION = "SELECT count(*) FROM duckdb_columns() WHERE table_name = 'needed' AND column_name = 'label'"
_TABLES = ("listed", "details", "template_fields", "templates", "trials", "needed")
_LIST = """
INSERT INTO listed SELECT $type, unnest(r.id), unnest(r.client_id), unnest(r.title), unnest(r.template_id),
                          unnest(r.template), unnest(r.marker), unnest(r.last_modified), unnest(r.readable),
                          unnest(r.raw_title)
FROM (SELECT $rows::JSON::STRUCT(id VARCHAR[], client_id VARCHAR[], title VARCHAR[], template_id VARCHAR[],
                                 template VARCHAR[], marker BIGINT[], last_modified VARCHAR[], readable BOOLEAN[],
                                 raw_title VARCHAR[]) AS r)
"""
_REMEMBER = """
INSERT INTO details SELECT $type, unnest($ids), unnest($modified), unnest($settled),
                           unnest($looked_for::JSON::VARCHAR[][]), unnest($fields)::JSON::MAP(VARCHAR, VARCHAR),
                           unnest($filled::JSON::VARCHAR[][]), unnest($markers), unnest($claims), unnest($templates),
                           unnest($layouts)
"""
_UNREAD = """
WITH read AS (
    SELECT d.id, d.last_modified, d.filled,
           list_transform(
               list_filter(w.labels, lambda label: NOT list_contains(d.looked_for, label))
               || list_filter(d.looked_for, lambda label: label[1] = '=' AND NOT list_contains(w.labels, label)),
               lambda label: ltrim(label, '=→')
           ) AS new
    FROM details d JOIN {wanted} w USING (template_id)
    WHERE d.type = $type AND d.settled
)
SELECT id FROM listed l
WHERE type = $type AND readable AND NOT EXISTS (
    FROM read r WHERE r.id = l.id AND r.last_modified = l.last_modified
        AND (len(r.new) = 0 OR NOT list_has_any(r.filled, list_append(r.new, $unnamed)))
)
ORDER BY id
"""
_WANTED = "SELECT unnest($templates::VARCHAR[]) AS template_id, unnest($labels::JSON::VARCHAR[][]) AS labels"
_NOT_LOOKED_AT = """
SELECT arg_max(l.id, lpad(l.id, 40, '0')) FROM listed l LEFT JOIN templates t USING (template_id)
WHERE l.type = $type AND l.readable AND l.template_id <> ''
GROUP BY l.template_id HAVING coalesce(any_value(t.looked_at), 0) < $before
"""
_PLACES = """
SELECT unnest($templates::VARCHAR[]) AS template_id, unnest($layouts::VARCHAR[]) AS layout,
       unnest($places::JSON::VARCHAR[][]) AS places
"""
_SNAPSHOT = """
COPY (
    SELECT l.id AS passportal_id, l.client_id, l.title AS name, {values}, coalesce(l.marker, d.marker) AS bms_id,
           l.last_modified, d.claim AS claimed_id, coalesce(nullif(l.template, ''), l.template_id) AS template,
           l.template_id, CASE WHEN l.readable THEN coalesce(p.places, []) ELSE [] END AS places
    FROM listed l LEFT JOIN details d USING (type, id)
    LEFT JOIN {places} p ON p.template_id = d.template_id AND p.layout = d.layout
    WHERE l.type = $type
) TO {file} (FORMAT parquet, KV_METADATA {{new_records: {new_records}}})
"""


@dataclass(frozen=True)
class ListedDocument:
    """A row of a list. ``readable``: whether this key may ask for its details; else only the row is known."""

    document: Document
    template: str
    readable: bool = True
    raw_title: str = ""


@dataclass(frozen=True)
class Template:
    """A template of documents of one type, their number, and the age key of the newest (see ``_age``)."""

    id: str
    name: str
    documents: int
    newest: tuple[int, str] = (0, "")


@dataclass(frozen=True)
class Fields:
    """The known fields of a template's new documents.

    ``places``: label → its place. ``special``: labels under which plain text does not belong; ``absent``: labels found
    to be missing; ``linking``: labels under which links were seen; all folded. ``is_whole``: only the labels of
    ``places`` exist; else there may be others. ``notes``: the label of the marker's line.
    """

    places: Mapping[str, Element] = field(default_factory=dict)
    special: frozenset[str] = frozenset()
    absent: frozenset[str] = frozenset()
    is_whole: bool = False
    notes: str = NOTES
    linking: frozenset[str] = frozenset()

    def takes_link(self, label: str) -> bool:
        """Return whether a link can be written under ``label``: another document of the template has one there."""
        return folded_label(label) in self.linking

    def takes(self, label: str) -> bool:
        """Return whether plain text can be written under ``label``, as far as is known."""
        is_there = label in self.places or not (self.is_whole or folded_label(label) in self.absent)
        return is_there and folded_label(label) not in self.special

    def can_mark(self, label: str) -> bool:
        """Return whether a marker can be written under ``label``: notes by ``takes``, any other only if it was seen."""
        return self.takes(label) and (label == self.notes or label in self.places)


@dataclass(frozen=True)
class Trial:
    """A new document that did not keep its values: its id, and its missing labels."""

    document_id: str
    labels: tuple[str, ...]


_UNNAMED = "?"
_IF_DAMAGED = "Run again: the file was deleted, and the documents it remembered are read from Passportal again."

_log = logging.getLogger(__name__)


class RememberedDocuments:
    """The memory in ``file``; made when first used, and used inside ``opened`` by one thread at a time.

    ``mapping``: under which label of which template a field lies.
    """

    def __init__(self, file: Path, mapping: FieldMapping = DEFAULT) -> None:
        self._file = file
        self._mapping = mapping
        self._one_at_a_time = threading.Lock()
        self._opened: list[duckdb.DuckDBPyConnection] = []
        self._is_damaged = False

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Keep the file open, also over calls: nobody else uses it, only one run works in a home folder.

        A damaged file is deleted: at once where opening it shows the damage, else at the end.
        """
        if self._opened:
            yield
            return
        try:
            connection = self._connected()
        except WarehouseDamaged as damaged:
            _log.warning("%s", damaged.message)
            self._delete()
            connection = self._connected()
        try:
            with contextlib.closing(connection):
                self._opened.append(connection)
                yield
        finally:
            self._opened.clear()
            if self._is_damaged:
                self._is_damaged = False
                self._delete()

    @contextlib.contextmanager
    def _open(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with self.opened(), self._one_at_a_time:
            try:
                with translate_errors(self._file, _IF_DAMAGED), transaction(self._opened[0]):
                    yield self._opened[0]
            except WarehouseDamaged:
                self._is_damaged = True
                raise

    def _connected(self) -> duckdb.DuckDBPyConnection:
        with translate_errors(self._file, _IF_DAMAGED):
            create_atomically(self._file, _fill)
            connection = connect(self._file)
            try:
                _bring_up_to_date(connection)
            except BaseException:
                connection.close()
                raise
            return connection

    def _delete(self) -> None:
        for file in (*side_files(self._file), self._file):
            file.unlink(missing_ok=True)

    def listed(self, kind: str) -> dict[str, ListedDocument]:
        """Return the documents of a type as they were listed last, by id."""
        with self._open() as connection:
            rows = connection.execute(
                "SELECT id, client_id, title, template_id, last_modified, template, readable, raw_title FROM listed"
                " WHERE type = ?",
                [kind],
            ).fetchall()
        return {row[0]: ListedDocument(Document(*row[:5]), *row[5:]) for row in rows}

    def title(self, kind: str, document_id: str) -> str | None:
        """Return the title of a listed document; None where it is not listed."""
        with self._open() as connection:
            row = connection.execute(
                "SELECT title FROM listed WHERE type = ? AND id = ?", [kind, document_id]
            ).fetchone()
        return row[0] if row else None

    def titles_are_encoded(self) -> bool:
        """Return whether the service encodes its titles, judged by all listed titles."""
        with self._open() as connection:
            return titles_are_encoded(row[0] for row in connection.execute("SELECT raw_title FROM listed").fetchall())

    def list_anew(self, kind: str, rows: Iterable[ListedDocument]) -> None:
        """Replace the listed documents of a type; forget the details of all others."""
        found = list(rows)
        columns = {
            "id": [row.document.id for row in found],
            "client_id": [row.document.client_id for row in found],
            "title": [row.document.title for row in found],
            "template_id": [row.document.template_id for row in found],
            "template": [row.template for row in found],
            "marker": [marker_in(row.document.custom_id, {}) for row in found],
            "last_modified": [row.document.last_modified for row in found],
            "readable": [row.readable for row in found],
            "raw_title": [row.raw_title for row in found],
        }
        with self._open() as connection:
            connection.execute("DELETE FROM listed WHERE type = ?", [kind])
            connection.execute(_LIST, {"type": kind, "rows": _json(columns)})
            connection.execute(
                "DELETE FROM details d WHERE type = ? AND NOT EXISTS"
                " (FROM listed l WHERE l.type = d.type AND l.id = d.id)",
                [kind],
            )
            for table in ("templates", "template_fields", "needed"):
                connection.execute(f"DELETE FROM {table} WHERE template_id NOT IN (SELECT template_id FROM listed)")

    def unread(self, entity: Entity) -> list[str]:
        """Return the ids of listed documents whose details have to be read.

        A document read before the mapping has a label is read again only if it is filled under this label.
        """
        kind = entity.singular
        with self._open() as connection:
            rows = connection.execute("SELECT DISTINCT template_id FROM details WHERE type = ?", [kind]).fetchall()
            templates = [row[0] for row in rows]
            labels = _json([sorted(self._looked_for(entity, template)) for template in templates])
            with temporary(connection, "wanted", _WANTED, {"templates": templates, "labels": labels}) as wanted:
                query = _UNREAD.format(wanted=wanted)
                found = connection.execute(query, {"type": kind, "unnamed": _UNNAMED}).fetchall()
        return [row[0] for row in found]

    def _looked_for(self, entity: Entity, template_id: str) -> set[str]:
        """Return the folded labels that a reading for ``entity`` takes values from.

        That of the marker is behind "=", those of links are behind "→".
        """
        marker, labels = folded_label(self._mapping.marker_label), self._mapping.labels(entity, template_id)
        links = {folded_label(labels[column]) for column in self._mapping.links(entity) if column in labels}
        texts = set(map(folded_label, self._values_of(entity, template_id))) - links - {marker}
        return {f"={marker}", *texts, *(f"→{label}" for label in links)}

    def not_looked_at(self, kind: str, before: float) -> list[str]:
        """Return the newest document of each template without a reading since ``before``."""
        with self._open() as connection:
            rows = connection.execute(_NOT_LOOKED_AT, {"type": kind, "before": before}).fetchall()
        return [row[0] for row in rows]

    def remember(self, entity: Entity, documents: Sequence[tuple[Document, bool]], at: float) -> None:
        """Store documents read ``at`` this time, each with whether no change within its second can be missing."""
        if not documents:
            return
        found = [document for document, _ in documents]
        looked_for = {id_: self._looked_for(entity, id_) for id_ in {document.template_id for document in found}}
        values = {id_: self._values_of(entity, id_) for id_ in looked_for}
        layouts = [_layout(document, [*values[document.template_id], self._mapping.marker_label]) for document in found]
        with self._open() as connection:
            self._remember_templates(connection, found, layouts, at)
            connection.execute(
                "DELETE FROM details WHERE type = $type AND id IN (SELECT unnest($ids))",
                {"type": entity.singular, "ids": [document.id for document in found]},
            )
            connection.execute(
                _REMEMBER,
                {
                    "type": entity.singular,
                    "ids": [document.id for document in found],
                    "modified": [document.last_modified for document in found],
                    "settled": [settled for _, settled in documents],
                    "looked_for": _json([sorted(looked_for[document.template_id]) for document in found]),
                    "fields": [
                        _json(
                            {
                                folded_label(label): text
                                for label, text in document.fields.items()
                                if text and label in values[document.template_id]
                            }
                        )
                        for document in found
                    ],
                    "filled": _json([_filled(document) for document in found]),
                    "markers": [document.marker for document in found],
                    "claims": [document.claim for document in found],
                    "templates": [document.template_id for document in found],
                    "layouts": layouts,
                },
            )

    def markers(self, kind: str, ids: Sequence[str]) -> dict[str, tuple[str, int | None]]:
        """Return those of the documents that were read: id → last modified then, and marker."""
        with self._open() as connection:
            rows = connection.execute(
                "SELECT id, last_modified, marker FROM details WHERE type = ? AND id IN (SELECT unnest(?))",
                [kind, list(ids)],
            ).fetchall()
        return {row[0]: (row[1], row[2]) for row in rows}

    def templates(self, kind: str) -> list[Template]:
        """Return the templates of listed documents of a type, the most frequent first."""
        with self._open() as connection:
            rows = connection.execute(
                "SELECT template_id, any_value(template), count(*), arg_max(id, lpad(id, 40, '0')) FROM listed"
                " WHERE type = ? AND template_id <> '' GROUP BY ALL ORDER BY 3 DESC, 1",
                [kind],
            ).fetchall()
        return [Template(row[0], row[1], row[2], _age(row[3])) for row in rows]

    def _values_of(self, entity: Entity, template_id: str) -> set[str]:
        labels = self._mapping.labels(entity, template_id)
        return {label for column, label in labels.items() if column != "name"}

    def fields(self, entity: Entity, template_id: str) -> Fields:
        """Return the known fields of new documents of this template, by the labels of ``entity``."""
        seen = self._forms_seen().get(template_id, {})
        with self._open() as connection:
            return self._fields(connection, entity, template_id, seen)

    def _fields(
        self,
        connection: duckdb.DuckDBPyConnection,
        entity: Entity,
        template_id: str,
        seen: Mapping[str, set[DetailsForm]],
    ) -> Fields:
        rows = connection.execute(
            "SELECT label, key, name FROM template_fields WHERE template_id = ? ORDER BY ALL", [template_id]
        ).fetchall()
        whole = connection.execute("SELECT is_whole FROM templates WHERE template_id = ?", [template_id]).fetchone()
        places = [Element(key, name) for _, key, name in rows if key is not None]
        notes = self._mapping.marker_label
        ours = {**dict.fromkeys(self._mapping.labels(entity, template_id).values()), notes: None}
        shown = {folded_label(label) for label, key, _ in rows if key is not None}
        is_whole = bool(whole and whole[0]) or _has_them_all(
            connection, template_id, shown, set(map(folded_label, ours))
        )
        return Fields(
            dict(zip(our_labels(places, [*ours, ID_LABEL, KIND_LABEL]), places, strict=True)),
            special=frozenset(label for label, forms in seen.items() if _is_special(forms)),
            linking=frozenset(label for label, forms in seen.items() if DetailsForm.LINK in forms),
            absent=frozenset(folded_label(label) for label, key, _ in rows if key is None),
            is_whole=is_whole,
            notes=notes,
        )

    def labels(self, entity: Entity) -> list[TemplateLabels]:
        """Return the labels of each template of listed documents, with the number of documents filled under each."""
        kind = entity.singular
        found = []
        with self._open() as connection:
            read = dict(
                connection.execute(
                    "SELECT template_id, count(*) FROM details WHERE type = ? GROUP BY ALL", [kind]
                ).fetchall()
            )
            filled = {
                (template, label): count
                for template, label, count in connection.execute(
                    "SELECT template_id, label, count(*) FROM (SELECT template_id, unnest(filled) AS label FROM details"
                    " WHERE type = ?) GROUP BY ALL",
                    [kind],
                ).fetchall()
            }
            forms: dict[tuple[str, str], set[DetailsForm]] = {}
            rows = connection.execute("SELECT DISTINCT template_id, layout FROM details WHERE type = ?", [kind])
            for template, layout in rows.fetchall():
                for label, form in _forms(json.loads(layout)).items():
                    forms.setdefault((template, label), set()).add(DetailsForm(form))
            named = connection.execute(
                "SELECT template_id, coalesce(name, label) FROM template_fields WHERE key IS NOT NULL ORDER BY ALL"
            ).fetchall()
        for template in self.templates(kind):
            names = [name for id_, name in named if id_ == template.id]
            alike = Counter(map(folded_label, names))
            labels = tuple(
                Label(
                    name,
                    form_of(forms.get((template.id, folded_label(name)), ())),
                    filled.get((template.id, folded_label(name)), 0),
                    alike[folded_label(name)] == 1,
                )
                for name in names
            )
            found.append(
                TemplateLabels(template.id, template.name, template.documents, read.get(template.id, 0), labels)
            )
        return found

    def forget_fields(self, template_id: str, labels: Collection[str]) -> None:
        """Note fields that new documents of this template turned out to lack."""
        with self._open() as connection:
            connection.execute(
                "DELETE FROM template_fields WHERE template_id = ? AND label IN (SELECT unnest(?))",
                [template_id, list(labels)],
            )
            connection.execute(
                "INSERT INTO template_fields SELECT ?, unnest(?), NULL, NULL", [template_id, list(labels)]
            )

    def needed(self, template_id: str) -> list[str]:
        """Return the labels that new documents of this template turned out to need."""
        with self._open() as connection:
            rows = connection.execute(
                "SELECT label FROM needed WHERE template_id = ? ORDER BY label", [template_id]
            ).fetchall()
        return [row[0] for row in rows]

    def note_needed(self, template_id: str, labels: Collection[str]) -> None:
        """Replace the labels that new documents of this template turned out to need."""
        with self._open() as connection:
            connection.execute("DELETE FROM needed WHERE template_id = ?", [template_id])
            connection.execute("INSERT INTO needed SELECT ?, unnest(?::VARCHAR[])", [template_id, sorted(labels)])

    def trial(self, template_id: str, dialect: str) -> Trial | None:
        """Return the new document of this template, sent in this form, that did not keep its values."""
        with self._open() as connection:
            row = connection.execute(
                "SELECT document_id, labels FROM trials WHERE template_id = ? AND dialect = ?", [template_id, dialect]
            ).fetchone()
        return Trial(row[0], tuple(row[1])) if row else None

    def note_trial(self, template_id: str, dialect: str, trial: Trial | None) -> None:
        """Remember how a new document of this template came out; None: it kept all."""
        with self._open() as connection:
            connection.execute("DELETE FROM trials WHERE template_id = ? AND dialect = ?", [template_id, dialect])
            if trial is not None:
                connection.execute(
                    "INSERT INTO trials VALUES (?, ?, ?, ?)",
                    [template_id, dialect, trial.document_id, list(trial.labels)],
                )

    def write_snapshot(self, entity: Entity, file: Path, new_records: Mapping[str, object]) -> None:
        """Write an entity's known documents to a Parquet file; see ``Target.snapshot``."""
        file.parent.mkdir(parents=True, exist_ok=True)
        entity, seen = self._mapping.entity(entity), self._forms_seen()
        with self._open() as connection:
            rows = connection.execute(
                "SELECT DISTINCT template_id, layout FROM details WHERE type = ?", [entity.singular]
            )
            layouts = rows.fetchall()
            fields = {
                template_id: self._fields(connection, entity, template_id, seen.get(template_id, {}))
                for template_id, _ in layouts
            }
            found = [
                _places(
                    self._mapping.labels(entity, template),
                    json.loads(layout),
                    fields[template],
                    self._mapping.links(entity),
                )
                for template, layout in layouts
            ]
            values = ", ".join(
                f"{self._value(entity, column, list(fields))} AS {column}" for column in entity.columns[1:]
            )
            by_layout = {
                "templates": [template for template, _ in layouts],
                "layouts": [layout for _, layout in layouts],
                "places": _json(found),
            }
            with temporary(connection, "places", _PLACES, by_layout) as known_places:
                query = _SNAPSHOT.format(
                    places=known_places,
                    values=values,
                    file=sql.quoted(str(file)),
                    new_records=sql.quoted(_json(dict(new_records))),
                )
                connection.execute(query, {"type": entity.singular})

    def _value(self, entity: Entity, column: str, templates: Sequence[str]) -> str:
        """Return SQL for the value of ``column`` in a document of any of ``templates``."""
        labels = {template: self._mapping.label(entity, column, template) for template in templates}
        values = {
            template: "NULL" if label is None else f"map_extract_value(d.fields, {sql.quoted(folded_label(label))})"
            for template, label in labels.items()
        }
        if len(set(values.values())) <= 1:
            return f"{next(iter(values.values()), 'NULL')}::VARCHAR"
        cases = " ".join(f"WHEN {sql.quoted(template)} THEN {value}" for template, value in values.items())
        return f"(CASE d.template_id {cases} END)::VARCHAR"

    def _forms_seen(self) -> dict[str, dict[str, set[DetailsForm]]]:
        """Return template → folded label → its forms in documents."""
        with self._open() as connection:
            rows = connection.execute("SELECT DISTINCT template_id, layout FROM details").fetchall()
        seen: dict[str, dict[str, set[DetailsForm]]] = {}
        for template, layout in rows:
            for label, form in json.loads(layout)["forms"].items():
                seen.setdefault(template, {}).setdefault(label, set()).add(DetailsForm(form))
        return seen

    def _remember_templates(
        self, connection: duckdb.DuckDBPyConnection, documents: Sequence[Document], layouts: Sequence[str], at: float
    ) -> None:
        """Store the facts about templates shown by the documents read."""
        was = dict(
            connection.execute(
                "SELECT id, layout FROM details WHERE id IN (SELECT unnest(?))",
                [[document.id for document in documents]],
            ).fetchall()
        )
        newest: dict[str, Document] = {}
        for document, layout in zip(documents, layouts, strict=True):
            if document.id in was and was[document.id] != layout:
                self._carry_over(connection, document.template_id, json.loads(was[document.id]), json.loads(layout))
            newest[document.template_id] = max(
                newest.get(document.template_id, document), document, key=lambda each: _age(each.id)
            )
        for template_id, document in newest.items():
            self._remember_template(connection, template_id, document, at)
        seen: dict[str, dict[str, Element]] = {}
        for document in documents:
            if not document.shows_blanks:
                fields = seen.setdefault(document.template_id, {})
                fields.update({label: at for label, at in document.elements.items() if label not in fields})
        for template_id, fields in seen.items():
            self._add_fields(connection, template_id, fields)

    def _carry_over(
        self, connection: duckdb.DuckDBPyConnection, template_id: str, was: dict[str, object], now: dict[str, object]
    ) -> None:
        """Carry labels gained or lost by one document over to the others of its template.

        This holds until those are read themselves. A missing label is gone only where the document shows its blanks.
        """
        if not (was["whole"] and now["whole"]):
            return
        before, after = _forms(was), _forms(now)
        gone = before.keys() - after.keys()
        new = dict.fromkeys(after.keys() - before.keys(), DetailsForm.EMPTY.value)
        if not gone and not new:
            return
        rows = connection.execute("SELECT DISTINCT layout FROM details WHERE template_id = ?", [template_id]).fetchall()
        for (layout,) in rows:
            shown = json.loads(layout)
            forms = {label: form for label, form in {**new, **_forms(shown)}.items() if label not in gone}
            connection.execute(
                "UPDATE details SET layout = ? WHERE template_id = ? AND layout = ?",
                [_layout_text(forms, whole=bool(shown["whole"])), template_id, layout],
            )

    def _remember_template(
        self, connection: duckdb.DuckDBPyConnection, template_id: str, document: Document, at: float
    ) -> None:
        """Store the fields of new documents by the newest one of the template; if it shows blanks, these are all."""
        row = connection.execute(
            "SELECT document_id, is_whole FROM templates t WHERE template_id = ?"
            " AND EXISTS (FROM listed l WHERE l.id = t.document_id AND l.readable)",
            [template_id],
        ).fetchone()
        is_newest = row is None or _age(document.id) >= _age(row[0])
        if is_newest and document.shows_blanks:
            connection.execute("DELETE FROM template_fields WHERE template_id = ?", [template_id])
        self._add_fields(connection, template_id, document.elements) if is_newest else None
        connection.execute("DELETE FROM templates WHERE template_id = ?", [template_id])
        connection.execute(
            "INSERT INTO templates VALUES (?, ?, ?, ?)",
            [
                template_id,
                document.id if row is None or is_newest else row[0],
                at,
                (is_newest and document.shows_blanks) or (row is not None and bool(row[1])),
            ],
        )

    def _add_fields(
        self, connection: duckdb.DuckDBPyConnection, template_id: str, elements: Mapping[str, Element]
    ) -> None:
        connection.execute(
            "DELETE FROM template_fields WHERE template_id = ? AND key IS NULL AND label IN (SELECT unnest(?))",
            [template_id, list(elements)],
        )
        connection.execute(
            "INSERT INTO template_fields SELECT $template, label, name, key FROM"
            " (SELECT unnest($labels) AS label, unnest($names) AS name, unnest($keys) AS key) s WHERE NOT EXISTS"
            " (FROM template_fields f WHERE f.template_id = $template AND f.label = s.label)",
            {
                "template": template_id,
                "labels": list(elements),
                "names": [element.name for element in elements.values()],
                "keys": [element.key for element in elements.values()],
            },
        )


def _has_them_all(connection: duckdb.DuckDBPyConnection, template_id: str, shown: set[str], ours: set[str]) -> bool:
    """Return whether a template has no more of ``ours`` than ``shown``, the folded labels of its newest document.

    A document filled in every field shows no blank, so by itself it could hide some. Another of its template that shows
    a blank, with the same labels, tells that it hides none.
    """
    rows = connection.execute("SELECT DISTINCT layout FROM details WHERE template_id = ?", [template_id]).fetchall()
    layouts = [json.loads(layout) for (layout,) in rows]
    return any(layout["whole"] and ours & _forms(layout).keys() == ours & shown for layout in layouts)


def _is_special(forms: Collection[DetailsForm]) -> bool:
    """Return whether plain text does not belong under a label with these forms in the documents of a template.

    It is a choice or a yes/no in any of them, or a link in all with a value: a link may be shown as plain text in some,
    and formatted text begins as plain one.
    """
    is_typed = not {DetailsForm.CHOICE, DetailsForm.YES_NO, DetailsForm.OTHER}.isdisjoint(forms)
    return is_typed or (DetailsForm.LINK in forms and DetailsForm.TEXT not in forms)


def places(document: Document, labels: Mapping[str, str], fields: Fields, links: Collection[str] = ()) -> list[str]:
    """Return the writable columns in a document: plain text, or a blank in a place for plain text.

    ``labels``: column → label in documents of its template, ``name`` first. ``links``: the columns that are links. The
    place of such a one is a link, or a blank where other documents have a link.
    """
    return _places(labels, json.loads(_layout(document, labels.values())), fields, links)


def _places(
    labels: Mapping[str, str], layout: Mapping[str, object], fields: Fields, links: Collection[str]
) -> list[str]:
    forms = _forms(layout)

    def is_link(label: str) -> bool:
        form = forms.get(folded_label(label))
        if form is None:
            return not layout["whole"] and fields.takes_link(label)
        return DetailsForm(form) is DetailsForm.LINK or (
            DetailsForm(form) is DetailsForm.EMPTY and fields.takes_link(label)
        )

    def is_place(label: str) -> bool:
        form = forms.get(folded_label(label))
        if form is None:
            return not layout["whole"] and fields.takes(label)
        return DetailsForm(form) is DetailsForm.TEXT or (
            DetailsForm(form) is DetailsForm.EMPTY and folded_label(label) not in fields.special
        )

    return [
        column
        for column, label in labels.items()
        if column == "name" or (is_link(label) if column in links else is_place(label))
    ]


def _layout(document: Document, labels: Iterable[str]) -> str:
    """Return the labels in a document with their forms, as a text: equal layouts give equal texts.

    ``labels``: ours. Any other counts as blank where it holds plain text, so that there are few layouts.
    """
    whole, forms, ours = document.shows_blanks, dict[str, str](), set(labels)
    alike = _alike(document)
    for label, place in document.elements.items():
        key, form = folded_label(label), place.form
        if label in ours:
            forms[key] = form.value
        elif folded_label(place.name) in alike:
            continue
        elif not form.is_plain:
            forms[key] = form.value
        elif whole:
            forms[key] = DetailsForm.EMPTY.value
    return _layout_text(forms, whole=whole)


def _filled(document: Document) -> list[str]:
    """Return the folded labels under which a document has a text, and those that stand for several elements.

    ``_UNNAMED`` for an element without a name so far.
    """
    filled = {
        folded_label(label) if place.has_name or not place.key.isdecimal() else _UNNAMED
        for label, place in document.elements.items()
        if (document.values.get(label) or "").strip()
    }
    return sorted(filled | _alike(document))


def _alike(document: Document) -> set[str]:
    """Return the folded labels that stand for several elements: which of them is meant depends on the spelling."""
    alike = Counter(folded_label(place.name) for place in document.elements.values())
    return {name for name, elements in alike.items() if elements > 1}


def _layout_text(forms: Mapping[str, str], *, whole: bool) -> str:
    return json.dumps({"forms": dict(forms), "whole": whole}, sort_keys=True)


def _forms(layout: Mapping[str, object]) -> dict[str, str]:
    forms = layout["forms"]
    return dict(forms) if isinstance(forms, dict) else {}


def _age(document_id: str) -> tuple[int, str]:
    """Return a key that orders ids by age: numbers by their size."""
    return len(document_id), document_id


def _bring_up_to_date(connection: duckdb.DuckDBPyConnection) -> None:
    """Empty a file of an older version: its content is read once more."""
    (is_current,) = connection.execute(_OF_THIS_VERSION).fetchone() or (0,)
    if not is_current:
        with transaction(connection):
            for table in _TABLES:
                connection.execute(f"DROP TABLE IF EXISTS {table}")
            connection.execute(_SCHEMA)


def _fill(new: duckdb.DuckDBPyConnection) -> None:
    new.execute(_SCHEMA)


def _json(value: object) -> str:
    """Return JSON that DuckDB can hold: half a surrogate pair, which is no character, becomes a question mark."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode()
