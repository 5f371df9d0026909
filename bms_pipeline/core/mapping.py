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

import functools
import hashlib
import html
import json
import re
import unicodedata
from collections.abc import Callable, Iterable
from collections.abc import Mapping as Table
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from bms_pipeline.core.entities import (
    BY_NAME,
    CLEARED,
    CONSTANT,
    ENTITIES,
    Entity,
    EntityName,
    Field,
    Link,
    fields_by_key,
)
from bms_pipeline.core.reasons import Reason

VERSION = 1
MARKER_LABEL = "Notes"
"""The label under which a new document carries its marker, unless the mapping names another one."""

LINK_SIGN = "#"
"""The value of a link: this sign and the id of the document in Passportal."""

PART = re.compile(r"\{([^{}]*)\}")
"""A part of a composed text."""
FIELD_OF_KEY: dict[EntityName, dict[str, Field]] = {entity.name: fields_by_key(entity) for entity in ENTITIES}
"""Entity → key of BMS → the field that a mapping may add for it."""
_KEY_OF: dict[EntityName, dict[str, str]] = {
    name: {added.name: key for key, added in fields.items()} for name, fields in FIELD_OF_KEY.items()
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
        return tuple(PART.findall(self.text or ""))


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
            name: BY_NAME[name].with_fields(added_fields(BY_NAME[name], found.fields))
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
        parts = [column_of(entity, part) for part in rule.parts]
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
        f"coalesce({of(column_of(entity, piece))}, '')" if is_part else _quoted(piece)
        for piece, is_part in _pieces(text)
        if piece or is_part
    ]
    parts = [column_of(entity, part) for part in PART.findall(text)]
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
    return [(piece, bool(number % 2)) for number, piece in enumerate(PART.split(text))]


# Added fields


def added_fields(entity: Entity, rules: Table[str, FieldRule]) -> list[Field]:
    """Return the fields added to the entity by these rules: documented keys of BMS, and constants."""
    by_column = {added.name: added for added in FIELD_OF_KEY[entity.name].values()}
    found = []
    for column, rule in rules.items():
        label = rule.label or ""
        if column in by_column:
            found.append(replace(by_column[column], label=label))
        elif column.startswith((CONSTANT, CLEARED)):
            found.append(Field(column, "NULL::VARCHAR", label))
    return found


def column_of(entity: Entity, word: str) -> str:
    """Return the column of the field people name by this word: its own name, or a key of BMS."""
    added = FIELD_OF_KEY[entity.name].get(word)
    return added.name if added and word not in BY_NAME[entity.name].columns else word


def word_of(entity: Entity, column: str) -> str:
    """Return the word by which people name the field in a mapping."""
    return _KEY_OF[entity.name].get(column, column)


def is_field(entity: Entity, word: str) -> bool:
    """Return whether a mapping may name a field by this word: a field of the entity, or a documented key of BMS."""
    return word in entity.columns or word in FIELD_OF_KEY[entity.name]


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
