"""The mapping in a bundle: the same rules, with stand-ins for the tenant's texts.

Labels and names of templates stay, as everywhere in a bundle: a fault is often a label that is spelled otherwise.
Words, constants, defaults and the letters of a composed text are replaced as the values of their field are.

A text that the mapping makes is not the sum of its parts: a cut word is another word. So the stand-in of such a text is
what the replaced mapping makes of the replaced record::

    record ──mapping──────────▶ text          equal in the home folder
      │ replaced                 │ replaced
      ▼                          ▼
    record' ──mapping'────────▶ text'         equal in the bundle
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import duckdb

from bms_pipeline.core.entities import ENTITIES, Entity
from bms_pipeline.core.mapping import EntityMapping, FieldRule, Mapping, folded_word
from bms_pipeline.support.values import How, Ids, Values, how_to_replace
from bms_pipeline.warehouse.connection import named_rows

_PART = re.compile(r"(\{[^{}]*\})")
_DIRECTIVE = re.compile(r"(%-?.)")


def mapping_texts(mappings: Iterable[Mapping]) -> dict[How, set[str]]:
    """Return the texts to replace in these mappings, by the kind of their field."""
    found: dict[How, set[str]] = defaultdict(set)
    for mapping in mappings:
        for entity in ENTITIES:
            for rule in mapping.of(entity).templates:
                found[How.TEXT].update(rule.categories)
            for column, field in mapping.of(entity).fields.items():
                found[how_to_replace(entity)[column]].update(_texts(field))
                found[How.TEXT].update(_between(field))
    return found


def _texts(rule: FieldRule) -> Iterator[str]:
    yield from (text for text in (rule.constant, rule.default) if text is not None)
    for word, ours in (rule.words or {}).items():
        yield from (word, ours)


def _between(rule: FieldRule) -> Iterator[str]:
    """Yield the texts between the parts of a composed text and of a day."""
    yield from _PART.split(rule.text or "")[::2]
    yield from _DIRECTIVE.split(rule.date or "")[::2]


def replaced_mapping(mapping: Mapping, values: Values) -> Mapping:
    """Return the mapping with stand-ins for the tenant's texts."""
    entities = {entity.name: _replaced(entity, mapping.of(entity), values) for entity in ENTITIES}
    return Mapping(entities, _label(mapping.marker_label, values) or mapping.marker_label)


def _replaced(entity: Entity, mapping: EntityMapping, values: Values) -> EntityMapping:
    how = how_to_replace(entity)
    return EntityMapping(
        fields={column: _replaced_rule(how[column], rule, values) for column, rule in mapping.fields.items()},
        only={
            template: {column: _label(label, values) for column, label in labels.items()}
            for template, labels in mapping.only.items()
        },
        templates=tuple(
            replace(rule, categories=tuple(_standin(How.TEXT, word, values) for word in rule.categories))
            for rule in mapping.templates
        ),
    )


def _replaced_rule(how: How, rule: FieldRule, values: Values) -> FieldRule:
    words: dict[str, tuple[str, str]] = {}
    for word, ours in (rule.words or {}).items():
        shown = _standin(how, word, values)
        words.setdefault(folded_word(shown), (shown, _standin(how, ours, values)))
    return replace(
        rule,
        label=_label(rule.label, values),
        words=None if rule.words is None else dict(words.values()),
        constant=None if rule.constant is None else _standin(how, rule.constant, values),
        default=None if rule.default is None else _standin(how, rule.default, values),
        text=None if rule.text is None else _rewritten(_PART, rule.text, values),
        date=None if rule.date is None else _rewritten(_DIRECTIVE, rule.date, values),
    )


def _standin(how: How, text: str, values: Values) -> str:
    return values.stand_in(how, text) or text


def _label(label: str | None, values: Values) -> str | None:
    return values.stand_in(How.LABEL, label)


def _rewritten(kept: re.Pattern[str], text: str, values: Values) -> str:
    """Return ``text`` with stand-ins for all but what ``kept`` finds."""
    return "".join(part if n % 2 else values.words.stand_in(part) for n, part in enumerate(kept.split(text)))


# The texts that a mapping makes

Place = tuple[str, str]
"""The name of an entity, and a column."""
Made = dict[Place, dict[int, str]]
"""Place → BMS id → the text to write."""


def made_texts(connection: duckdb.DuckDBPyConnection, mapping: Mapping) -> Made:
    """Return the texts that the mapping makes of the stored records of BMS, where it makes another one than theirs."""
    found: Made = {}
    for entity in ENTITIES:
        columns = [column for column, rule in mapping.of(entity).fields.items() if rule.makes_values]
        if columns:
            query = f"SELECT bms_id, {', '.join(columns)} FROM {mapping.records_sql(entity)}"
            rows = named_rows(connection, query)
            for column in columns:
                texts = {row["bms_id"]: row[column] for row in rows if row[column] is not None}
                found[entity.name, column] = texts
    return found


class MadeTexts:
    """The texts that some mappings make, and their stand-ins.

    ``pairs``: what each mapping made of the records, and of the copy, whose ids ``ids`` gives.
    """

    def __init__(self, pairs: Sequence[tuple[Made, Made]], ids: Ids) -> None:
        self._own: dict[tuple[Place, int, str], str] = {}
        self._any: dict[tuple[Place, str], str] = {}
        for before, after in pairs:
            for place, texts in before.items():
                for bms_id, text in texts.items():
                    number = ids.known(bms_id)
                    standin = None if number is None else after.get(place, {}).get(number)
                    if standin is not None:
                        self._own.setdefault((place, bms_id, text), standin)
                        self._any.setdefault((place, text), standin)

    def stand_in(self, place: Place, bms_id: int | None, text: str) -> str | None:
        """Return the stand-in of a made text: that of the record, else of any equal one; None for any other text."""
        own = None if bms_id is None else self._own.get((place, bms_id, text))
        return own if own is not None else self._any.get((place, text))
