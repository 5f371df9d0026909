"""Read a mapping from its table, as TOML or the database have it, and refuse what it cannot mean, with its place.

A mapping is refused as a whole: nothing of it is stored while any part is wrong.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable
from collections.abc import Mapping as Table
from typing import Any

from bms_pipeline.core.entities import BY_NAME, CLEARED, CONSTANT, ENTITIES, IN_DETAIL, Entity, column_of_label
from bms_pipeline.core.errors import SettingsError
from bms_pipeline.core.junk import Kind, is_junk_text
from bms_pipeline.core.mapping import (
    FIELD_OF_KEY,
    MARKER_LABEL,
    PART,
    VERSION,
    EntityMapping,
    FieldRule,
    Mapping,
    Other,
    TemplateRule,
    added_fields,
    column_of,
    folded_label,
    folded_word,
    is_field,
    match_keys,
    word_of,
)

_MOST_FIELDS = 40
"""The most fields of an entity: a plan's statement grows with each of them (docs/decisions.md)."""

_FIELD_OPTIONS = (
    "label", "words", "other", "constant", "text", "default", "most", "date", "required", "inactive", "active",
)  # fmt: skip
"""What a field's table in the mapping may hold."""


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


def with_cleared(mapping: Mapping, old: Iterable[tuple[Entity, str, str]]) -> Mapping:
    """Return the mapping which also blanks what loads wrote into fields under old labels: entity, column, label."""
    data = mapping.as_json()
    for entity, column, label in old:
        data.setdefault(entity.name, {}).setdefault("cleared", {})[label] = word_of(entity, column)
    return parse_mapping(data)


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
    if len(BY_NAME[entity.name].with_fields(added_fields(entity, fields)).fields) > _MOST_FIELDS:
        raise _wrong(fields_at, f"make more than {_MOST_FIELDS} fields", "Take out those that you need least.")
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
    _check_keys(where, data, _FIELD_OPTIONS)
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
            named = column_of(entity, part)
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
    if added := FIELD_OF_KEY[entity.name].get(word):
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
    names = [*entity.columns, *FIELD_OF_KEY[entity.name]]
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
    parts = PART.findall(text)
    if not parts:
        raise _wrong(where, "has no part in braces", 'Name fields: "{manufacturer} {model}"; or write constant = ...')
    if re.search(r"[{}]", PART.sub("", text)):
        raise _wrong(where, "has a brace that is not closed, or one too many")
    for part in parts:
        if not is_field(entity, part):
            near = difflib.get_close_matches(part, [*entity.columns, *FIELD_OF_KEY[entity.name]], 1)
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
