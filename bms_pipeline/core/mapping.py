"""The mapping: under which label a value of BMS lies in Passportal, in which words, and in which template.

It is a setting, in closed forms and without expressions::

    primary_ip = "IP Address"                                              another label
    "detail.locationInfo" = "Rack"                                         a documented key of BMS, no field
    asset_tag = false                                                      left out
    status = { words = { "In Use" = "Active" }, other = "keep" }           words
    platform = { constant = "Managed" }                                    a constant
    model = { text = "{manufacturer} {model}" }                            composed of BMS's own values
    location = { link = "locations" }                                      a link to another document

With the option ``inactive`` a field also says whether its record is active in BMS.
Keys of BMS and texts for labels without any field (``constants``) become fields of the entity: ``Mapping.entity``.

``Mapping()`` is the mapping without any setting. Nothing here opens a file or a connection: values become SQL.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import html
import json
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable
from collections.abc import Mapping as Table
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from bms_pipeline.core.entities import (
    BY_NAME,
    CLEARED,
    CONSTANT,
    ENTITIES,
    IN_DETAIL,
    Entity,
    EntityName,
    Field,
    Link,
    column_of_label,
    fields_by_key,
)
from bms_pipeline.core.errors import SettingsError
from bms_pipeline.core.junk import Kind, is_junk_text
from bms_pipeline.core.reasons import Reason

VERSION = 1
MARKER_LABEL = "Notes"
"""The label under which a new document carries its marker, unless the mapping names another one."""

MOST_FIELDS = 40
"""The most fields of an entity: a plan's statement grows with each of them (docs/decisions.md)."""

FIELD_OPTIONS = (
    "label", "words", "other", "constant", "text", "default", "most", "date", "required", "inactive", "active",
)  # fmt: skip
"""What a field's table in the mapping may hold."""
LINK_SIGN = "#"
"""The value of a link: this sign and the id of the document in Passportal."""

_PART = re.compile(r"\{([^{}]*)\}")
_BY_KEY: dict[EntityName, dict[str, Field]] = {entity.name: fields_by_key(entity) for entity in ENTITIES}
_KEY_OF: dict[EntityName, dict[str, str]] = {
    name: {added.name: key for key, added in fields.items()} for name, fields in _BY_KEY.items()
}


class Other(StrEnum):
    """What becomes of a value without a word: it is kept, skipped, or skipped and listed until a person decides."""

    KEEP = "keep"
    SKIP = "skip"
    ASK = "ask"


@dataclass(frozen=True)
class FieldRule:
    """The mapping of one field; each part is None without it.

    ``label``: its label in Passportal. ``words``: BMS's word → ours, with ``other`` for the rest. ``constant``: this
    text in every record. ``text``: composed of BMS's own values. ``default``: for a new record without a value.
    ``most``: the largest number of characters. ``date``: the format of a day. ``required``: no record is created
    without it. ``inactive``: the text of a record not active in BMS; ``active``: that of an active one without
    any other text. ``clears``: the column of the field that once lay under the label; what loads wrote there is
    blanked. ``link``: the entity of the linked document.
    """

    label: str | None = None
    is_left_out: bool = False
    words: Table[str, str] | None = None
    other: Other = Other.KEEP
    constant: str | None = None
    text: str | None = None
    default: str | None = None
    most: int | None = None
    date: str | None = None
    required: bool = False
    inactive: str | None = None
    active: str | None = None
    clears: str | None = None
    link: str | None = None

    @property
    def makes_values(self) -> bool:
        """Whether the text in Passportal may be another than BMS's."""
        parts = (self.words, self.constant, self.text, self.most, self.date, self.inactive, self.link)
        return any(part is not None for part in parts)

    @property
    def parts(self) -> tuple[str, ...]:
        """The fields of a composed text, as they are written, in order."""
        return tuple(_PART.findall(self.text or ""))


@dataclass(frozen=True)
class TemplateRule:
    """New records of these categories (BMS's own words; empty: of any) go into the ``template`` with this id."""

    template: str
    categories: tuple[str, ...] = ()


@dataclass(frozen=True)
class EntityMapping:
    """The mapping of one entity. ``fields``: column → its rule, also for the fields added by the mapping.

    ``only``: template id → column → its label in that template, None where it is left out there.
    """

    fields: Table[str, FieldRule] = field(default_factory=dict)
    only: Table[str, Table[str, str | None]] = field(default_factory=dict)
    templates: tuple[TemplateRule, ...] = ()


@dataclass(frozen=True)
class Mapping:
    """The whole mapping. ``marker_label``: the label under which new documents carry their marker."""

    entities: Table[str, EntityMapping] = field(default_factory=dict)
    marker_label: str = MARKER_LABEL

    @functools.cached_property
    def hash(self) -> str:
        """A stable digest; empty for the mapping without any setting."""
        said = self.as_json()
        text = json.dumps(said, sort_keys=True, ensure_ascii=False)
        return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()[:16] if said else ""

    def entity(self, entity: Entity) -> Entity:
        """Return the entity with the fields added by the mapping; the entity itself without any."""
        return self._entities.get(entity.name, BY_NAME[entity.name])

    @functools.cached_property
    def _entities(self) -> dict[EntityName, Entity]:
        return {
            name: BY_NAME[name].with_fields(_added_fields(BY_NAME[name], found.fields))
            for name, found in self.entities.items()
        }

    def of(self, entity: Entity) -> EntityMapping:
        """Return the mapping of ``entity``."""
        return self.entities.get(entity.name, EntityMapping())

    def rule(self, entity: Entity, column: str) -> FieldRule:
        """Return the rule of the field; an empty one where nothing is set."""
        return self.of(entity).fields.get(column, FieldRule())

    def label(self, entity: Entity, column: str, template_id: str = "") -> str | None:
        """Return the label of the field in documents of this template; None where it is left out, or not added."""
        if column == "name":
            return entity.labels["name"]
        only = self.of(entity).only.get(template_id, {})
        if column in only:
            return only[column]
        rule = self.rule(entity, column)
        return None if rule.is_left_out else rule.label or BY_NAME[entity.name].labels.get(column)

    def labels(self, entity: Entity, template_id: str = "") -> dict[str, str]:
        """Return column → label in documents of this template, ``name`` first, without the columns left out."""
        found = {column: self.label(entity, column, template_id) for column in self.entity(entity).columns}
        return {column: label for column, label in found.items() if label is not None}

    def shown_labels(self, entity: Entity, template_id: str = "") -> dict[str, str]:
        """Return column → the label by which people know it: its place, or Passportal's own label if left out."""
        return {**self.entity(entity).labels, **self.labels(entity, template_id)}

    def names(self, entity: Entity) -> dict[str, str]:
        """Return column → how people call the field: by Passportal's own label, its key in BMS, or its constant."""
        names = dict(BY_NAME[entity.name].labels)
        for added in self.entity(entity).added_fields:
            what = "constant" if added.name.startswith(CONSTANT) else "old label"
            names[added.name] = added.key or f"{what} {added.label}"
        return names

    def is_left_out(self, entity: Entity, column: str, template_id: str = "") -> bool:
        """Return whether the field is neither read, compared nor written in documents of this template."""
        return self.label(entity, column, template_id) is None

    def links(self, entity: Entity) -> dict[str, Link]:
        """Return column → the linked record, of the links among the fields."""
        fields = (entity.field(column) for column, rule in self.of(entity).fields.items() if rule.link is not None)
        return {field.name: field.link for field in fields if field is not None and field.link is not None}

    def exceptions(self, entity: Entity) -> tuple[str, ...]:
        """Return the ids of the templates with labels of their own."""
        return tuple(self.of(entity).only)

    def templates(self, entity: Entity) -> tuple[str, ...]:
        """Return the ids of the templates in the rules for new records."""
        return tuple(dict.fromkeys(rule.template for rule in self.of(entity).templates))

    def template_for(self, entity: Entity, category: str | None) -> str | None:
        """Return the template of a new record of this category (BMS's own word): the first fitting rule; or None."""
        word = folded_word(category or "")
        for rule in self.of(entity).templates:
            if not rule.categories or word in map(folded_word, rule.categories):
                return rule.template
        return None

    def template_sql(self, entity: Entity, category_sql: str) -> str:
        """Return SQL for ``template_for``, over BMS's own word; NULL where no rule fits."""
        cases = [
            f"WHEN {_folded_sql(category_sql)} IN ({_listed(map(folded_word, rule.categories))}) THEN"
            f" {_quoted(rule.template)}"
            if rule.categories
            else f"WHEN true THEN {_quoted(rule.template)}"
            for rule in self.of(entity).templates
        ]
        return f"CASE {' '.join(cases)} END" if cases else "NULL::VARCHAR"

    def types(self, entity: Entity) -> tuple[str, ...]:
        """Return the types of Passportal's documents to read for ``entity``."""
        return (entity.singular,)

    def value_sql(self, entity: Entity, column: str, of: Callable[[str], str] = str) -> str:
        """Return SQL for the text to write, over BMS's own values; ``of`` gives the SQL of a column's own value.

        A field left out everywhere is NULL.
        """
        rule = self.rule(entity, column)
        value = self._whole_sql(entity, column, of)
        return value if rule.most is None else f"nullif(rtrim(left({value}, {rule.most})), '')"

    def is_cut_sql(self, entity: Entity, column: str) -> str:
        """Return SQL: whether the text of the field is longer than its ``most`` and is cut."""
        most = self.rule(entity, column).most
        return "false" if most is None else f"length({self._whole_sql(entity, column, str)}) > {most}"

    def _whole_sql(self, entity: Entity, column: str, of: Callable[[str], str]) -> str:
        """Return SQL for ``value_sql`` before anything is cut."""
        rule = self.rule(entity, column)
        if rule.is_left_out and column != "name":
            return "NULL::VARCHAR"
        value = of(column)
        if rule.constant is not None:
            value = _quoted(rule.constant)
        elif rule.text is not None:
            value = _composed(self.entity(entity), rule.text, of)
        elif rule.link is not None:
            value = (
                f"(SELECT concat('{LINK_SIGN}', target_id) FROM ({_target_sql(entity, column, of)}) WHERE is_inside)"
            )
        elif rule.words is not None:
            value = _worded(rule.words, rule.other, value)
        if rule.date is not None:
            value = f"coalesce(strftime(try_cast({value} AS DATE), {_quoted(rule.date)}), {value})"
        return value if rule.inactive is None else self._by_activity_sql(entity, column, value, of)

    def _by_activity_sql(self, entity: Entity, column: str, value: str, of: Callable[[str], str]) -> str:
        """Return SQL for the text about whether the record is active; ``value``: its text while it is."""
        rule = self.rule(entity, column)
        if rule.active is not None:
            active = _quoted(rule.active)
            if self.needs_details(entity, column):  # else it would stand there until the details are read
                active = f"CASE WHEN {of('details_read_at')} IS NOT NULL THEN {active} END"
            value = f"coalesce({value}, {active})"
        return f"CASE WHEN NOT {of('is_active')} THEN {_quoted(rule.inactive or '')} ELSE {value} END"

    def says_inactive(self, entity: Entity) -> tuple[str, ...]:
        """Return the fields saying in Passportal whether a record is active in BMS."""
        return tuple(column for column, rule in self.of(entity).fields.items() if rule.inactive is not None)

    def records_sql(self, entity: Entity) -> str:
        """Return SQL for the records of BMS with the texts to write: a table's name, or a SELECT in brackets."""
        made = [
            column
            for column, rule in self.of(entity).fields.items()
            if column != "name" and (rule.makes_values or rule.is_left_out)
        ]
        if not made:
            return f"bms.{entity.name}"
        values = ", ".join(f"{self.value_sql(entity, column)} AS {column}" for column in made)
        return f"(SELECT * REPLACE ({values}) FROM bms.{entity.name})"

    def lacks_word_sql(self, entity: Entity, column: str, value_sql: str) -> str:
        """Return SQL: whether BMS's own value has no word, and ``other`` leaves it to a person; or false."""
        rule = self.rule(entity, column)
        if rule.words is None or rule.other is not Other.ASK:
            return "false"
        return (
            f"({value_sql} IS NOT NULL AND {_folded_sql(value_sql)} NOT IN ({_listed(map(folded_word, rule.words))}))"
        )

    def unlinked_sql(self, entity: Entity, column: str, of: Callable[[str], str]) -> str:
        """Return SQL: why a link has no value; NULL where it has one, or BMS names no record."""
        target = _target_sql(entity, column, of)
        why = (
            f"SELECT CASE WHEN is_inside THEN NULL WHEN is_listed THEN '{Reason.LINK_TO_OTHER_CLIENT}'"
            f" ELSE '{Reason.LINK_TO_GONE_RECORD}' END FROM ({target})"
        )
        return (
            f"CASE WHEN {of(f'{column}_id')} IS NULL THEN NULL"
            f" WHEN EXISTS ({target}) THEN ({why}) ELSE '{Reason.LINK_TO_UNMATCHED}' END"
        )

    def needs_details(self, entity: Entity, column: str) -> bool:
        """Return whether the text to write may come later than the record: with its details."""
        details = {detail.name for detail in self.entity(entity).detail_fields}
        rule = self.rule(entity, column)
        parts = [_column_of(entity, part) for part in rule.parts]
        return rule.constant is None and not details.isdisjoint(parts or (column,))

    def as_json(self) -> dict[str, Any]:
        """Return the smallest table from which ``parse_mapping`` makes this mapping; empty without any setting."""
        entities = {
            name: said for name, entity in BY_NAME.items() if (said := _entity_as_json(entity, self.of(entity)))
        }
        marker = {"marker_label": self.marker_label} if self.marker_label != MARKER_LABEL else {}
        return {"version": VERSION, **marker, **entities} if marker or entities else {}

    def as_toml(self) -> str:
        """Return the mapping as TOML, for people and for git."""
        return _toml({"version": VERSION, **self.as_json()})


DEFAULT = Mapping()


def left_out_sql(mapping: Mapping, entity: Entity, column: str, template_sql: str) -> str:
    """Return SQL: whether the field is left out in a document of the template ``template_sql``."""
    return _by_template(
        template_sql, mapping.exceptions(entity), lambda template: mapping.is_left_out(entity, column, template)
    )


def moved_sql(before: Mapping, after: Mapping, entity: Entity, column: str, template_sql: str) -> str:
    """Return SQL: whether the field has another place by ``after`` than by ``before``, in a document of the template.

    A field left out has no place. A link and a text under one label are two places: they never compare.
    """

    def is_moved(template: str) -> bool:
        was, now = (_place(mapping, entity, column, template) for mapping in (before, after))
        return was != now

    return _by_template(template_sql, (*before.exceptions(entity), *after.exceptions(entity)), is_moved)


def _place(mapping: Mapping, entity: Entity, column: str, template: str) -> tuple[str, bool] | None:
    label = mapping.label(entity, column, template)
    return None if label is None else (folded_label(label), column in mapping.links(entity))


def _by_template(template_sql: str, templates: Iterable[str], of: Callable[[str], bool]) -> str:
    """Return SQL for the answer of ``of`` about the template of a record; about "" for any other template."""
    usual = str(of("")).lower()
    cases = " ".join(
        f"WHEN {_quoted(template)} THEN {str(of(template)).lower()}"
        for template in dict.fromkeys(templates)
        if of(template) != of("")
    )
    return f"CASE {template_sql} {cases} ELSE {usual} END" if cases else usual


def with_cleared(mapping: Mapping, old: Iterable[tuple[Entity, str, str]]) -> Mapping:
    """Return the mapping which also blanks what loads wrote into fields under old labels: entity, column, label."""
    data = mapping.as_json()
    for entity, column, label in old:
        data.setdefault(entity.name, {}).setdefault("cleared", {})[label] = word_of(entity, column)
    return parse_mapping(data)


def with_last_places(mapping: Mapping, earlier: Iterable[Mapping]) -> Mapping:
    """Return the mapping of labels alone, in which a left-out field has its last one by ``earlier``, newest first.

    So has a field added by an earlier mapping only.
    """
    history = [mapping, *earlier, DEFAULT]

    def last(entity: Entity, column: str, template: str) -> str | None:
        labels = (found.label(entity, column, template) for found in history)
        return next((label for label in labels if label is not None), None)

    def last_link(entity: Entity, column: str) -> str | None:
        rules = (found.rule(entity, column) for found in history)
        return next((rule.link for rule in rules if not rule.is_left_out), None)

    def of_entity(entity: Entity) -> EntityMapping:
        columns = dict.fromkeys(column for found in history for column in found.entity(entity).columns[1:])
        return EntityMapping(
            fields={
                column: FieldRule(label=last(entity, column, ""), link=last_link(entity, column)) for column in columns
            },
            only={
                template: {column: last(entity, column, template) for column in columns}
                for template in dict.fromkeys(name for found in history for name in found.exceptions(entity))
            },
        )

    return Mapping({entity.name: of_entity(entity) for entity in ENTITIES}, mapping.marker_label)


def folded_word(text: str) -> str:
    """Return a word of BMS as it is compared: after NFKC, without case, blanks at its ends and double blanks."""
    return " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).split())


@functools.cache
def folded_label(label: str) -> str:
    """Return a label as it is compared: without case, blanks, HTML entities, a colon or star at its end."""
    text = unicodedata.normalize("NFKC", html.unescape(label)).casefold()
    return re.sub(r"[\s_\u200b\ufeff]", "", unicodedata.normalize("NFKC", text)).strip(":*")


def match_keys(entity: Entity) -> tuple[str, ...]:
    """Return the fields by which records are matched, next to the name itself."""
    named = {word for key in entity.keys.values() for word in re.findall(r"\w+", key)}
    named |= {
        word for rule in entity.rules for key in rule.keys for word in re.findall(r"\w+", entity.keys.get(key, ""))
    }
    return tuple(
        column.name for column in entity.fields if column.name in named or column.name in ("first_name", "last_name")
    )


# SQL


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(map(_quoted, texts))


def _folded_sql(value: str) -> str:
    """Return SQL for ``folded_word``; plain ASCII takes the short way."""
    return f"(CASE WHEN regexp_full_match({value}, '[!-~]+( [!-~]+)*') THEN lower({value}) ELSE fold_name({value}) END)"


def _worded(words: Table[str, str], other: Other, value: str) -> str:
    cases = " ".join(f"WHEN {_quoted(folded_word(word))} THEN {_quoted(ours)}" for word, ours in words.items())
    rest = value if other is Other.KEEP else "NULL"
    return (
        f"CASE WHEN {value} IS NOT NULL THEN CASE {_folded_sql(value)} {cases} ELSE {rest} END END" if cases else rest
    )


def _target_sql(entity: Entity, column: str, of: Callable[[str], str]) -> str:
    """Return SQL for the document linked by a record's field, by the stored match of the named record.

    ``is_listed``: the last snapshot has it. ``is_inside``: it lies in the client of the record itself.
    """
    field = entity.field(column)
    if field is None or field.link is None:
        raise AssertionError(f"{entity.name}.{column} is no link")
    client = f"SELECT client.passportal_id FROM sync.matches client WHERE client.bms_id = {of('account_id')}"
    return (
        "SELECT link.passportal_id AS target_id, target.passportal_id IS NOT NULL AS is_listed,"
        f" coalesce(target.client_id = ({client} AND client.entity = 'clients'), false) AS is_inside"
        f" FROM sync.matches link LEFT JOIN passportal.{field.link.entity} target USING (passportal_id)"
        f" WHERE link.entity = '{field.link.entity}' AND link.bms_id = {of(field.link_column)}"
    )


def _composed(entity: Entity, text: str, of: Callable[[str], str]) -> str:
    """Return SQL for a composed text: NULL where all its parts are, or where its details were not read yet."""
    pieces = [
        f"coalesce({of(_column_of(entity, piece))}, '')" if is_part else _quoted(piece)
        for piece, is_part in _pieces(text)
        if piece or is_part
    ]
    parts = [_column_of(entity, part) for part in _PART.findall(text)]
    has_any = " OR ".join(f"{of(part)} IS NOT NULL" for part in parts)
    details = {detail.name for detail in entity.detail_fields}
    if not details.isdisjoint(parts):
        has_any = f"({has_any}) AND {of('details_read_at')} IS NOT NULL"
        keys = [detail.json_key for detail in entity.detail_fields if detail.json_key and detail.name in parts]
        if keys:
            has_any += f" AND coalesce(list_has_all(string_split({of('details_keys')}, ' '), [{_listed(keys)}]), false)"
    joined = rf"trim(regexp_replace(concat({', '.join(pieces)}), ' +', ' ', 'g'))"
    return f"CASE WHEN {has_any} THEN nullif({joined}, '') END"


def _pieces(text: str) -> list[tuple[str, bool]]:
    return [(piece, bool(number % 2)) for number, piece in enumerate(_PART.split(text))]


# Added fields


def _added_fields(entity: Entity, rules: Table[str, FieldRule]) -> list[Field]:
    """Return the fields added to the entity by these rules: documented keys of BMS, and constants."""
    by_column = {added.name: added for added in _BY_KEY[entity.name].values()}
    found = []
    for column, rule in rules.items():
        label = rule.label or ""
        if column in by_column:
            found.append(replace(by_column[column], label=label))
        elif column.startswith((CONSTANT, CLEARED)):
            found.append(Field(column, "NULL::VARCHAR", label))
    return found


def _column_of(entity: Entity, word: str) -> str:
    """Return the column of the field people name by this word: its own name, or a key of BMS."""
    added = _BY_KEY[entity.name].get(word)
    return added.name if added and word not in BY_NAME[entity.name].columns else word


def word_of(entity: Entity, column: str) -> str:
    """Return the word by which people name the field in a mapping."""
    return _KEY_OF[entity.name].get(column, column)


def is_field(entity: Entity, word: str) -> bool:
    """Return whether a mapping may name a field by this word: a field of the entity, or a documented key of BMS."""
    return word in entity.columns or word in _BY_KEY[entity.name]


# Reading


def parse_mapping(data: Table[str, Any]) -> Mapping:
    """Return the mapping in ``data`` (of TOML or JSON). Raises ``SettingsError`` naming the place."""
    _check_keys("", data, ("version", "marker_label", *BY_NAME))
    version = data.get("version", VERSION)
    if version != VERSION:
        raise _wrong("version", f"is {version!r}, and this version reads {VERSION}", "Install a newer bms-pipeline.")
    marker = _text("marker_label", data.get("marker_label", MARKER_LABEL))
    entities = {
        entity.name: _parse_entity(entity, _table(entity.name, data[entity.name]))
        for entity in ENTITIES
        if entity.name in data
    }
    mapping = Mapping(entities, marker)
    for entity in ENTITIES:
        _check_labels(mapping, entity)
    return mapping


def _parse_entity(entity: Entity, data: Table[str, Any]) -> EntityMapping:
    _check_keys(entity.name, data, ("types", "template", "fields", "constants", "cleared", "only"))
    types = data.get("types", [entity.singular])
    if types != [entity.singular]:
        raise _wrong(
            f"{entity.name}.types", f"is {types!r}, and only the type {entity.singular!r} is read for {entity.name}"
        )
    fields_at = f"{entity.name}.fields"
    fields = {
        (column := _column(fields_at, entity, word)): _parse_field(f"{fields_at}.{word}", entity, column, said)
        for word, said in _table(fields_at, data.get("fields", {})).items()
    }
    fields |= _parse_constants(entity, _table(f"{entity.name}.constants", data.get("constants", {})))
    fields |= _parse_cleared(entity, _table(f"{entity.name}.cleared", data.get("cleared", {})))
    _check_parts(entity, fields)
    if len(BY_NAME[entity.name].with_fields(_added_fields(entity, fields)).fields) > MOST_FIELDS:
        raise _wrong(fields_at, f"make more than {MOST_FIELDS} fields", "Take out those that you need least.")
    only = {
        _template(f"{entity.name}.only.{template}", template): _parse_only(entity, fields, template, said)
        for template, said in _table(f"{entity.name}.only", data.get("only", {})).items()
    }
    rules = data.get("template", [])
    if not isinstance(rules, list):
        raise _wrong(
            f"{entity.name}.template", "is no list of rules", f"Write each rule as [[{entity.name}.template]]."
        )
    templates = tuple(
        _parse_template(f"{entity.name}.template[{number}]", entity, _table(f"{entity.name}.template", said))
        for number, said in enumerate(rules, 1)
    )
    return EntityMapping(fields, only, templates)


def _parse_constants(entity: Entity, data: Table[str, Any]) -> dict[str, FieldRule]:
    """Return the rules of the texts for labels without a field."""
    where = f"{entity.name}.constants"
    found: dict[str, FieldRule] = {}
    for label, text in data.items():
        if not entity.has_client:
            raise _wrong(f"{where}.{label}", _NO_DOCUMENTS.format(entity.name), "Take it out.")
        column = column_of_label(CONSTANT, _text(f"{where}.{label}", label))
        if column in found:
            raise _wrong(f"{where}.{label}", f"is there twice, also as {found[column].label!r}", "Keep one.")
        found[column] = FieldRule(label=label.strip(), constant=_text(f"{where}.{label}", text))
    return found


def _parse_cleared(entity: Entity, data: Table[str, Any]) -> dict[str, FieldRule]:
    """Return the rules of the labels where texts of a field are blanked that lies under another label now."""
    found: dict[str, FieldRule] = {}
    for label, word in data.items():
        where = f"{entity.name}.cleared.{label}"
        if not entity.has_client:
            raise _wrong(where, _NO_DOCUMENTS.format(entity.name), "Take it out.")
        if folded_label(label) == folded_label(MARKER_LABEL):
            raise _wrong(where, "can carry markers, so it is never blanked", "Take it out.")
        column = column_of_label(CLEARED, _text(where, label))
        if column in found:
            raise _wrong(where, f"is there twice, also as {found[column].label!r}", "Keep one.")
        found[column] = FieldRule(label=label.strip(), clears=_column(where, entity, _text(where, word)))
    return found


def _parse_field(where: str, entity: Entity, column: str, said: object) -> FieldRule:
    if column == "name":
        raise _wrong(where, "cannot be mapped: by its name a record is matched", "Take it out of the mapping.")
    is_added = column not in entity.columns
    if said is False:
        if is_added:
            raise _wrong(where, "is a key of BMS and left out anyway", "Take it out of the mapping.")
        return FieldRule(is_left_out=True)
    if isinstance(said, str):
        return FieldRule(label=_other_label(entity, column, _text(where, said)))
    data = _table(where, said, "a label, false, or a table")
    if "link" in data:
        return _parse_link(where, entity, column, data)
    _check_keys(where, data, FIELD_OPTIONS)
    forms = [form for form in ("words", "constant", "text") if form in data]
    if len(forms) > 1:
        raise _wrong(where, f"has {' and '.join(forms)}, which exclude each other", "Keep one of them.")
    if "other" in data and "words" not in data:
        raise _wrong(f"{where}.other", "belongs to words, and there are none", "Add words = { ... }, or take it out.")
    if is_added and "label" not in data:
        raise _wrong(where, "is a key of BMS, which has no label of its own", 'Add label = "...", its place.')
    rule = FieldRule(
        label=_other_label(entity, column, _text(f"{where}.label", data["label"])) if "label" in data else None,
        words=_words(f"{where}.words", data["words"]) if "words" in data else None,
        other=_other(f"{where}.other", data.get("other", Other.KEEP.value)),
        constant=_text(f"{where}.constant", data["constant"]) if "constant" in data else None,
        text=_composition(f"{where}.text", entity, data["text"]) if "text" in data else None,
        default=_text(f"{where}.default", data["default"]) if "default" in data else None,
        most=_most(f"{where}.most", data["most"]) if "most" in data else None,
        date=_date_format(f"{where}.date", data["date"]) if "date" in data else None,
        required=_yes_or_no(f"{where}.required", data.get("required", False)),
        inactive=_text(f"{where}.inactive", data["inactive"]) if "inactive" in data else None,
        active=_text(f"{where}.active", data["active"]) if "active" in data else None,
    )
    if (rule.makes_values or rule.default is not None) and column in match_keys(entity):
        raise _wrong(where, f"decides which {entity.name} match, so only its label can be another", "Keep the label.")
    _check_activity(where, entity, column, rule)
    return rule


def _check_activity(where: str, entity: Entity, column: str, rule: FieldRule) -> None:
    """Refuse words for active and inactive that could not follow BMS both ways."""
    if rule.inactive is None:
        if rule.active is not None:
            raise _wrong(f"{where}.active", "belongs to inactive, which is not there", "Add inactive, or take it out.")
        return
    if not entity.has_client:
        raise _wrong(
            f"{where}.inactive", f"is not possible: {entity.name} are no documents", "Use it inside the clients."
        )
    if next(field.kind for field in entity.fields if field.name == column) is not Kind.TEXT:
        raise _wrong(f"{where}.inactive", "is not possible: the field holds no plain words", "Use a field of text.")
    if rule.constant is not None and rule.active is not None:
        raise _wrong(f"{where}.active", "and constant are both the text of an active record", "Keep one of them.")
    if rule.constant is None and rule.active is None:
        raise _wrong(
            f"{where}.inactive",
            "needs a word for a record that is active again",
            'Add active = "...": it is written where BMS has no value of its own.',
        )
    for option, word in (("inactive", rule.inactive), ("active", rule.active), ("constant", rule.constant)):
        if word is not None and is_junk_text(word):
            raise _wrong(f"{where}.{option}", f"is {word!r}, a placeholder that replaces no value", "Give a word.")
    if rule.inactive[: rule.most] == (rule.constant or rule.active or "")[: rule.most]:
        raise _wrong(f"{where}.inactive", "is the word for an active record, too", "Give each its own.")


def _parse_link(where: str, entity: Entity, column: str, data: Table[str, Any]) -> FieldRule:
    """Return the rule of a link: it has a label at most, because its value is a document."""
    _check_keys(where, data, ("label", "link"))
    field = entity.field(column)
    if field is None or field.link is None:
        able = ", ".join(own.name for own in entity.fields if own.link is not None) or "none"
        raise _wrong(
            f"{where}.link",
            "is not possible: BMS names no other record there",
            f"Fields of {entity.name} that can be links: {able}.",
        )
    if data["link"] != field.link.entity:
        raise _wrong(f"{where}.link", f"is {data['link']!r}", f"This field can link to {field.link.entity!r} only.")
    label = _other_label(entity, column, _text(f"{where}.label", data["label"])) if "label" in data else None
    return FieldRule(label=label, link=field.link.entity)


def _other_label(entity: Entity, column: str, label: str) -> str | None:
    """Return the label; None for the field's own label."""
    return None if label == entity.labels.get(column) else label


def _parse_only(entity: Entity, fields: Table[str, FieldRule], template: str, said: object) -> dict[str, str | None]:
    where = f"{entity.name}.only.{template}"
    data = _table(where, said)
    _check_keys(where, data, ("fields",))
    found: dict[str, str | None] = {}
    for word, label in _table(f"{where}.fields", data.get("fields", {})).items():
        at = f"{where}.fields.{word}"
        column = _column(f"{where}.fields", entity, word)
        if column not in entity.columns and column not in fields:
            raise _wrong(
                at, "is a key of BMS without a label for all other templates", f"Add it to {entity.name}.fields."
            )
        if column == "name":
            raise _wrong(at, "cannot be mapped: by its name a record is matched", "Take it out of the mapping.")
        if label is not False and not isinstance(label, str):
            raise _wrong(at, "is neither a label nor false", "Values are the same in every template.")
        found[column] = None if label is False else _text(at, label)
    return found


def _parse_template(where: str, entity: Entity, data: Table[str, Any]) -> TemplateRule:
    _check_keys(where, data, ("category", "into"))
    if "into" not in data:
        raise _wrong(where, "names no template", "Add into = ID, the template's number in Passportal.")
    said = data.get("category", [])
    categories = [said] if isinstance(said, str) else said
    if not isinstance(categories, list):
        raise _wrong(f"{where}.category", "is no list of words")
    if categories and entity.category is None:
        raise _wrong(f"{where}.category", f"is not possible: {entity.name} have no category", "Take it out.")
    words = tuple(_text(f"{where}.category", word) for word in categories)
    return TemplateRule(_template(f"{where}.into", data["into"]), words)


def _check_parts(entity: Entity, fields: Table[str, FieldRule]) -> None:
    """Refuse a composed text of another composed text: BMS's own values are its parts, so no circle can be meant."""
    for column, rule in fields.items():
        for part in rule.parts:
            named = _column_of(entity, part)
            where = f"{entity.name}.fields.{word_of(entity, column)}.text"
            if named not in entity.columns and named not in fields:
                raise _wrong(
                    where,
                    f"has the part {{{part}}}, a key of BMS without a label",
                    f"Give {part} a label in {entity.name}.fields: only then it is read.",
                )
            if named != column and named in fields and (fields[named].text or fields[named].constant) is not None:
                raise _wrong(
                    where,
                    f"has the part {{{part}}}, which the mapping makes itself; that could go round in a circle",
                    f"Use the parts of {part}, which are BMS's own values.",
                )


def _check_labels(mapping: Mapping, entity: Entity) -> None:
    """Refuse two fields on one label in one template, and a field on the label of the marker."""
    for template in ("", *mapping.exceptions(entity)):
        seen: dict[str, str] = {}
        for column, label in mapping.labels(entity, template).items():
            where = f"{entity.name}.only.{template}.fields" if template else f"{entity.name}.fields"
            folded, word = folded_label(label), word_of(entity, column)
            if column.startswith((CONSTANT, CLEARED)):
                kind = "constants" if column.startswith(CONSTANT) else "cleared"
                where, word = f"{entity.name}.{kind}", mapping.rule(entity, column).label or ""
            if folded in seen:
                raise _wrong(
                    f"{where}.{word}",
                    f"has the label {label!r}, which {seen[folded]} has, too",
                    "Give each its own.",
                )
            seen[folded] = word
            # The marker shares the label of notes by itself: it is a line of its own there.
            is_notes = folded_label(entity.labels.get(column, "")) == folded_label(MARKER_LABEL)
            if entity.has_client and not is_notes and folded == folded_label(mapping.marker_label):
                raise _wrong(f"{where}.{word}", f"has the label {label!r}, which carries the marker", "Give another.")


def _check_keys(where: str, data: Table[str, Any], allowed: Collection[str]) -> None:
    for key in data:
        if key not in allowed:
            near = difflib.get_close_matches(str(key), list(allowed), 1)
            meant = f"Did you mean {near[0]!r}? " if near else ""
            raise _wrong(f"{where}.{key}".strip("."), "is unknown", f"{meant}Possible are {', '.join(allowed)}.")


_NO_DOCUMENTS = "is not possible: {} are no documents in Passportal, so no template has a label for it"


def _column(where: str, entity: Entity, word: str) -> str:
    """Return the column of the field named by ``word``: a field of the entity, or a documented key of BMS."""
    if word in entity.columns:
        return word
    if added := _BY_KEY[entity.name].get(word):
        return added.name
    json_key = word.removeprefix(IN_DETAIL)
    if not entity.has_client and json_key in entity.documented:
        raise _wrong(f"{where}.{word}", _NO_DOCUMENTS.format(entity.name), f"Fields: {', '.join(entity.columns[1:])}.")
    wanted = entity.detail_fields if word.startswith(IN_DETAIL) else entity.listed_fields
    own = next((own.name for own in wanted if json_key in re.findall(r"\w+", own.sql)), None)
    if own:
        raise _wrong(f"{where}.{word}", f"is the field {own}", f"Write {own} = ...")
    if word in re.findall(r"\w+", entity.name_sql) and entity.has_client:
        raise _wrong(f"{where}.{word}", "is part of the name, by which a record is matched", "Take it out.")
    names = [*entity.columns, *_BY_KEY[entity.name]]
    folded = {name.casefold(): name for name in names}
    elsewhere = [json_key.casefold(), f"{IN_DETAIL}{json_key}".casefold()]
    near = [folded[found] for found in elsewhere if found in folded] or [
        folded[found] for found in difflib.get_close_matches(word.casefold(), list(folded), 1)
    ]
    meant = f"Did you mean {near[0]!r}? " if near else ""
    raise _wrong(
        f"{where}.{word}",
        f"is no field of {entity.name}, and no documented key of BMS"
        if entity.has_client
        else f"is no field of {entity.name}",
        f"{meant}Fields: {', '.join(entity.columns[1:])}.",
    )


def _table(where: str, said: object, wanted: str = "a table") -> Table[str, Any]:
    if not isinstance(said, dict):
        raise _wrong(where, f"is {type(said).__name__} and not {wanted}")
    return said


def _text(where: str, said: object) -> str:
    if not isinstance(said, str) or not said.strip():
        raise _wrong(where, "is no text")
    if len(said) > 255 or not said.isprintable():
        raise _wrong(where, "is longer than 255 characters, or has characters that cannot be shown")
    return said.strip()


def _template(where: str, said: object) -> str:
    text = str(said) if isinstance(said, int | str) and not isinstance(said, bool) else ""
    if not (text.isascii() and text.isdigit()):
        raise _wrong(where, f"is {said!r}, which is no number of a template", "Passportal shows it in the address.")
    return text


def _words(where: str, said: object) -> dict[str, str]:
    found: dict[str, str] = {}
    folded: dict[str, str] = {}
    if not _table(where, said):
        raise _wrong(where, "has no word", "Add one, or take it out.")
    for word, ours in _table(where, said).items():
        if folded_word(word) in folded:
            raise _wrong(f"{where}.{word}", f"is there twice, also as {folded[folded_word(word)]!r}", "Keep one.")
        folded[folded_word(word)] = word
        found[_text(where, word)] = _text(f"{where}.{word}", ours)
    return found


def _other(where: str, said: object) -> Other:
    if said not in list(Other):
        raise _wrong(where, f"is {said!r}", f"Choose from {', '.join(Other)}.")
    return Other(str(said))


def _composition(where: str, entity: Entity, said: object) -> str:
    text = _text(where, said)
    parts = _PART.findall(text)
    if not parts:
        raise _wrong(where, "has no part in braces", 'Name fields: "{manufacturer} {model}"; or write constant = ...')
    if re.search(r"[{}]", _PART.sub("", text)):
        raise _wrong(where, "has a brace that is not closed, or one too many")
    for part in parts:
        if not is_field(entity, part):
            near = difflib.get_close_matches(part, [*entity.columns, *_BY_KEY[entity.name]], 1)
            meant = f"Did you mean {{{near[0]}}}? " if near else ""
            fields = ", ".join(entity.columns)
            raise _wrong(where, f"names {{{part}}}, which is no field of {entity.name}", f"{meant}Fields: {fields}.")
    return text


def _most(where: str, said: object) -> int:
    if isinstance(said, bool) or not isinstance(said, int) or not 1 <= said <= 100_000:
        raise _wrong(where, f"is {said!r} and no number of characters from 1 to 100000")
    return said


def _date_format(where: str, said: object) -> str:
    text = _text(where, said)
    letters = re.findall(r"%(.?)", text)
    if not letters or any(letter not in set("aAbBdejmuyY%-") for letter in letters):
        raise _wrong(where, f"is {said!r} and no format of a day", "Write it as %d/%m/%Y, %d.%m.%Y or %Y-%m-%d.")
    return text


def _yes_or_no(where: str, said: object) -> bool:
    if not isinstance(said, bool):
        raise _wrong(where, "is neither true nor false")
    return said


def _wrong(where: str, what: str, next_step: str = "") -> SettingsError:
    return SettingsError(f"The mapping's {where} {what}.", next_step, problems={where: what})


# Writing


def _entity_as_json(entity: Entity, mapping: EntityMapping) -> dict[str, Any]:
    constants = {rule.label: rule.constant for column, rule in mapping.fields.items() if column.startswith(CONSTANT)}
    cleared = {rule.label: word_of(entity, rule.clears) for rule in mapping.fields.values() if rule.clears}
    fields = {
        word_of(entity, column): said
        for column, rule in mapping.fields.items()
        if not column.startswith((CONSTANT, CLEARED)) and (said := _field_as_json(rule)) is not None
    }
    rules = [
        {**({"category": list(rule.categories)} if rule.categories else {}), "into": int(rule.template)}
        for rule in mapping.templates
    ]
    only = {
        template: {"fields": {word_of(entity, column): label or False for column, label in labels.items()}}
        for template, labels in mapping.only.items()
        if labels
    }
    said = {"template": rules, "fields": fields, "constants": constants, "cleared": cleared, "only": only}
    return {key: value for key, value in said.items() if value}


def _field_as_json(rule: FieldRule) -> object:
    """Return the shortest form of the rule; None for a rule without any part."""
    if rule.is_left_out:
        return False
    parts: dict[str, Any] = {
        "label": rule.label,
        "words": None if rule.words is None else dict(rule.words),
        "other": rule.other.value if rule.words is not None and rule.other is not Other.KEEP else None,
        "constant": rule.constant,
        "text": rule.text,
        "default": rule.default,
        "most": rule.most,
        "date": rule.date,
        "required": rule.required or None,
        "inactive": rule.inactive,
        "active": rule.active,
        "link": rule.link,
    }
    said = {key: value for key, value in parts.items() if value is not None}
    return said["label"] if list(said) == ["label"] else said or None


def _toml(said: Table[str, Any]) -> str:
    """Return a mapping's smallest table as TOML: a line a field, under the entity's headers."""
    blocks = [_lines({key: value for key, value in said.items() if key not in BY_NAME})]
    for name, entity in ((name, said[name]) for name in BY_NAME if name in said):
        blocks += [f"[[{name}.template]]\n{_lines(rule)}" for rule in entity.get("template", [])]
        if "fields" in entity:
            blocks.append(f"[{name}.fields]\n{_lines(entity['fields'])}")
        if "constants" in entity:
            blocks.append(f"[{name}.constants]\n{_lines(entity['constants'])}")
        if "cleared" in entity:
            blocks.append(f"[{name}.cleared]\n{_lines(entity['cleared'])}")
        for template, exceptions in entity.get("only", {}).items():
            blocks.append(f"[{name}.only.{_key(template)}.fields]\n{_lines(exceptions['fields'])}")
    return "\n\n".join(blocks) + "\n"


def _lines(data: Table[str, Any]) -> str:
    return "\n".join(f"{_key(key)} = {_inline(value)}" for key, value in data.items())


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)


def _inline(value: object) -> str:
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{_key(key)} = {_inline(part)}' for key, part in value.items())} }}" if value else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(_inline, value))}]"
    return json.dumps(value, ensure_ascii=False)
