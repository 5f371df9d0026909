"""Suggest a mapping from what records and documents show. Nothing is applied: a person stores it, or does not.

    label with the values of a field in matched records  ─┬─▶ the label of the field, in any language
    label with another name of the field, as "S/N"       ─┘
    words used for one another in matched records  ───▶ words
    templates in which matched records of a category lie ───▶ rules for new records

Equal values are strong evidence; a name alone is weak, and says so.
"""

from __future__ import annotations

import contextlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from functools import partial
from typing import Any

from bms_pipeline.core.entities import BY_NAME, CLEARED, CONSTANT, Entity, EntityName, column_of_label
from bms_pipeline.core.errors import SettingsError
from bms_pipeline.core.junk import Kind
from bms_pipeline.core.mapping import Mapping, folded_label, folded_word, match_keys, word_of
from bms_pipeline.core.mapping_parsing import parse_mapping
from bms_pipeline.core.settings import Settings
from bms_pipeline.passportal.documents import synonyms
from bms_pipeline.passportal.documents.encoding import ID_LABEL, KIND_LABEL, NAME, DetailsForm
from bms_pipeline.passportal.documents.labels import Label, TemplateLabels
from bms_pipeline.passportal.documents.templates import DEFAULT_TEMPLATES, chosen_templates
from bms_pipeline.sync.label_samples import MAPPED, SampledPair, Samples

AGREED_AT_LEAST = 3
SHARE_AT_LEAST = 0.8
"""So many pairs must have equal values, of at least two kinds, and this share of those filled on both sides."""
KEY_SHARE_AT_LEAST = 0.5
"""A field used for matching is nearly unique, so fewer equal values are evidence enough."""
DIGITS_AT_LEAST = 7
"""A phone number may be written with and without its country; fewer digits are no number."""
MOST_WORDS = 12
"""A field with more words than this is no choice among a few."""
_DATES = ("%Y-%m-%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%Y/%m/%d")


class LabelEvidence(StrEnum):
    """Why a label is suggested."""

    VALUES = "equal values"
    NAME = "its name"


@dataclass(frozen=True)
class SuggestedLabel:
    """A label for a field. ``agreed`` of ``compared`` matched records have the same value there.

    ``filled`` of ``read`` documents have a text there. ``is_plain``: it can be written; any other label, as a link, is
    only a hint, and not in the suggested mapping.
    """

    entity: EntityName
    template_id: str
    template: str
    column: str
    label: str
    evidence: LabelEvidence
    agreed: int
    compared: int
    filled: int
    read: int
    is_plain: bool

    @property
    def is_by_values(self) -> bool:
        """Whether equal values name it, and not its name alone."""
        return self.evidence is LabelEvidence.VALUES


@dataclass(frozen=True)
class SuggestedWord:
    """A word of Passportal for a word of BMS; ``agreed`` of ``compared`` matched records have it so."""

    entity: EntityName
    column: str
    word: str
    ours: str
    agreed: int
    compared: int


@dataclass(frozen=True)
class SuggestedTemplate:
    """A template for new records of some categories, by where matched ones lie; no category: for any."""

    entity: EntityName
    template_id: str
    template: str
    categories: tuple[str, ...]
    agreed: int
    compared: int


@dataclass(frozen=True)
class SuggestedMapping:
    """A suggested mapping: the present one with all of these in it. ``marker_label``: None where it stays.

    ``hints``: labels with a value for reading only, so they are in no mapping.
    """

    mapping: Mapping
    labels: tuple[SuggestedLabel, ...] = ()
    words: tuple[SuggestedWord, ...] = ()
    templates: tuple[SuggestedTemplate, ...] = ()
    marker_label: str | None = None
    hints: tuple[SuggestedLabel, ...] = ()

    @property
    def count(self) -> int:
        """The number of suggestions."""
        return len(self.labels) + len(self.words) + len(self.templates) + bool(self.marker_label)


def suggest_mapping(settings: Settings, mapping: Mapping, samples: Samples) -> SuggestedMapping:
    """Return what the samples suggest for the fields, words and templates without one in ``mapping``."""
    found = [label for entity in MAPPED for label in _labels(mapping.entity(entity), mapping, samples)]
    labels, hints = ([label for label in found if label.is_plain is is_plain] for is_plain in (True, False))
    marker = _marker(mapping, samples)
    rules = [rule for entity in MAPPED for rule in _templates(settings, entity, mapping, samples)]
    draft = _Draft(mapping.as_json())
    if marker:
        draft.take(lambda data: data.update(marker_label=marker))
    taken = [label for label in labels if _add_label(draft, labels, label, samples)]
    for rule in rules:
        draft.take(partial(with_template, rule=rule))
    words = [word for entity in MAPPED for word in _words(draft.mapping.entity(entity), draft.mapping, samples)]
    for word in words:
        draft.take(partial(with_word, word=word))
    return SuggestedMapping(draft.mapping, tuple(taken), tuple(words), tuple(rules), marker, tuple(hints))


class _Draft:
    """A mapping, changed step by step while it stays possible."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.mapping = parse_mapping(data)

    def take(self, change: Callable[[dict[str, Any]], object]) -> bool:
        """Apply ``change`` to the mapping's table; return whether the result is a mapping."""
        data = self.mapping.as_json()
        change(data)
        try:
            self.mapping = parse_mapping(data)
        except SettingsError:
            return False
        return True


def _entity(data: dict[str, Any], name: EntityName) -> dict[str, Any]:
    found: dict[str, Any] = data.setdefault(name, {})
    return found


def _rule(data: dict[str, Any], entity: EntityName, column: str) -> dict[str, Any]:
    """Return the rule of a field as a table, in place of its short form."""
    fields = _entity(data, entity).setdefault("fields", {})
    word = word_of(BY_NAME[entity], column)
    said = fields.get(word)
    fields[word] = said if isinstance(said, dict) else {"label": said} if isinstance(said, str) else {}
    found: dict[str, Any] = fields[word]
    return found


def with_label(data: dict[str, Any], entity: EntityName, column: str, label: str | None, template_id: str = "") -> None:
    """Give a field another label in the table of a mapping, in one template alone if it is named; None leaves it out.

    The other parts of its rule stay. A field that the mapping adds, left out everywhere, is taken out of it.
    """
    word = word_of(BY_NAME[entity], column)
    for kind, beginning in (("constants", CONSTANT), ("cleared", CLEARED)):
        texts = _entity(data, entity).get(kind, {})
        old = next((found for found in texts if column_of_label(beginning, found) == column), None)
        if old is not None:
            text = texts.pop(old)
            texts |= {label: text} if label is not None else {}
            return
    if template_id:
        only = _entity(data, entity).setdefault("only", {}).setdefault(template_id, {}).setdefault("fields", {})
        only[word] = label or False
    elif label is None and word != column:
        del _entity(data, entity)["fields"][word]
        for exceptions in _entity(data, entity).get("only", {}).values():
            exceptions["fields"].pop(word, None)
    elif label is None:
        _entity(data, entity).setdefault("fields", {})[column] = False
    else:
        _rule(data, entity, column)["label"] = label


def with_template(data: dict[str, Any], rule: SuggestedTemplate) -> None:
    """Add a rule for new records to the table of a mapping."""
    categories: dict[str, Any] = {"category": list(rule.categories)} if rule.categories else {}
    _entity(data, rule.entity).setdefault("template", []).append({**categories, "into": int(rule.template_id)})


def with_word(data: dict[str, Any], word: SuggestedWord) -> None:
    """Add a word to the table of a mapping."""
    _rule(data, word.entity, word.column).setdefault("words", {})[word.word] = word.ours


# Labels


def _labels(entity: Entity, mapping: Mapping, samples: Samples) -> Iterator[SuggestedLabel]:
    """Yield a label for each field without a place, template by template: the best evidence first."""
    for template in samples.templates.get(entity.name, ()):
        own = mapping.labels(entity, template.id)
        present = {column: template.label(label) for column, label in own.items() if column != "name"}
        taken = {folded_label(label.name) for label in present.values() if label}
        taken |= {folded_label(NAME), folded_label(ID_LABEL), folded_label(KIND_LABEL)}
        lacking = [column for column, label in present.items() if label is None]
        pairs = samples.of_template(entity, template)
        found = sorted(
            (
                candidate
                for column in lacking
                for label in template.labels
                if label.is_alone and folded_label(label.name) not in taken
                for candidate in _candidates(entity, template, column, label, pairs)
            ),
            key=lambda one: (
                one.evidence is not LabelEvidence.VALUES,
                -one.agreed,
                synonyms.rank(entity, one.column, one.label) or 0,
                one.column,
            ),
        )
        given: set[str] = set()
        for candidate in found:
            if candidate.column not in given and folded_label(candidate.label) not in taken:
                given.add(candidate.column)
                taken.add(folded_label(candidate.label))
                yield candidate


def _candidates(
    entity: Entity, template: TemplateLabels, column: str, label: Label, pairs: Iterable[SampledPair]
) -> Iterator[SuggestedLabel]:
    compared = agreed = 0
    kinds: set[str] = set()
    for pair in pairs:
        ours, theirs = pair.values.get(column), _text_of(pair, label)
        if ours and theirs:
            compared += 1
            if is_same_value(entity, column, ours, theirs):
                agreed += 1
                kinds.add(_bare(ours))
    share = KEY_SHARE_AT_LEAST if column in match_keys(entity) else SHARE_AT_LEAST
    is_strong = agreed >= AGREED_AT_LEAST and len(kinds) > 1 and agreed >= share * compared
    is_named = synonyms.rank(entity, column, label.name) is not None
    differs = compared >= AGREED_AT_LEAST and not agreed and column in match_keys(entity)
    if is_strong or (is_named and not differs):
        evidence = LabelEvidence.VALUES if is_strong else LabelEvidence.NAME
        yield SuggestedLabel(
            entity.name, template.id, template.name, column, label.name, evidence, agreed, compared, label.filled,
            template.read, label.takes_text,
        )  # fmt: skip


def _text_of(pair: SampledPair, label: Label) -> str | None:
    return next(
        (
            text
            for name, text in pair.document.fields.items()
            if folded_label(name) == folded_label(label.name) and text
        ),
        None,
    )


def is_same_value(entity: Entity, column: str, ours: str, theirs: str) -> bool:
    """Return whether two texts mean the same value of a field: a day, a phone number, a code in any writing."""
    if column.endswith("_date"):
        return not _days(ours).isdisjoint(_days(theirs))
    kind = next((field.kind for field in entity.fields if field.name == column), Kind.TEXT)
    if kind is Kind.PHONE:
        short, long = sorted((re.sub(r"\D", "", text).lstrip("0") for text in (ours, theirs)), key=len)
        return len(short) >= DIGITS_AT_LEAST and long.endswith(short)
    return bool(_bare(ours)) and _bare(ours) == _bare(theirs)


def _bare(text: str) -> str:
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", text).casefold())


def _days(text: str) -> set[date]:
    """Return the possible days of a text: which number is the month, the text alone does not say."""
    found = set()
    for form in _DATES:
        with contextlib.suppress(ValueError):
            found.add(datetime.strptime(text.strip()[:10], form).date())
    return found


def _add_label(draft: _Draft, labels: list[SuggestedLabel], wanted: SuggestedLabel, samples: Samples) -> bool:
    """Put a label into the draft: as the field's label where most documents have it, else for its template alone."""
    weights: Counter[str] = Counter()
    spelled: dict[str, str] = {}
    documents = {template.id: template.documents for template in samples.templates.get(wanted.entity, ())}
    for label in labels:
        if (label.entity, label.column) == (wanted.entity, wanted.column):
            weights[folded_label(label.label)] += documents.get(label.template_id, 0) + 1
            spelled.setdefault(folded_label(label.label), label.label)
    entity = next(entity for entity in MAPPED if entity.name == wanted.entity)
    for template in samples.templates.get(wanted.entity, ()):
        present = template.label(draft.mapping.label(entity, wanted.column, template.id))
        if present and not any(label.template_id == template.id and label.column == wanted.column for label in labels):
            weights[folded_label(present.name)] += template.documents + 1
    most, _ = max(weights.items(), key=lambda weight: weight[1])
    if most == folded_label(wanted.label):
        return draft.take(lambda data: with_label(data, wanted.entity, wanted.column, spelled[most]))
    return draft.take(lambda data: with_label(data, wanted.entity, wanted.column, wanted.label, wanted.template_id))


def _marker(mapping: Mapping, samples: Samples) -> str | None:
    """Return the most frequent label for notes, where fewer have the present label of the marker."""
    weights: Counter[str] = Counter()
    spelled: dict[str, str] = {}
    for templates in samples.templates.values():
        for template in templates:
            for name in synonyms.NOTES:
                label = template.label(name)
                if label and (label.takes_text or label.form is DetailsForm.RICH):
                    weights[folded_label(name)] += template.documents + 1
                    spelled.setdefault(folded_label(name), label.name)
    present = weights.get(folded_label(mapping.marker_label), 0)
    best = max(weights, key=lambda name: weights[name], default="")
    return spelled[best] if best and weights[best] > present and not present else None


# Words and templates


def _words(entity: Entity, mapping: Mapping, samples: Samples) -> Iterator[SuggestedWord]:
    """Yield the words of Passportal used for others of BMS in matched records."""
    for column in entity.columns[1:]:
        if column in match_keys(entity) or mapping.rule(entity, column).makes_values:
            continue
        met: dict[str, Counter[str]] = defaultdict(Counter)
        for pair in samples.pairs.get(entity.name, ()):
            label = mapping.label(entity, column, pair.document.template_id)
            ours = pair.values.get(column)
            theirs = next(
                (
                    text
                    for name, text in pair.document.fields.items()
                    if label and folded_label(name) == folded_label(label)
                ),
                None,
            )
            if ours and theirs and len(ours) < 40 and "\n" not in theirs:
                met[ours][theirs] += 1
        texts = {text for words in met.values() for text in words}
        is_choice = met and max(len(met), len(texts)) <= MOST_WORDS and sum(
            sum(words.values()) for words in met.values()
        ) >= 2 * max(len(met), len(texts))  # fmt: skip
        if not is_choice:
            continue
        for word, words in met.items():
            ours, agreed = words.most_common(1)[0]
            compared = sum(words.values())
            is_sure = agreed >= AGREED_AT_LEAST and agreed >= SHARE_AT_LEAST * compared
            if is_sure and folded_word(word) != folded_word(ours):
                yield SuggestedWord(entity.name, column, word, ours, agreed, compared)


def _templates(settings: Settings, entity: Entity, mapping: Mapping, samples: Samples) -> Iterator[SuggestedTemplate]:
    """Yield rules for new records where there are several templates and no rule so far."""
    templates = samples.templates.get(entity.name, ())
    if len(templates) < 2 or mapping.templates(entity):
        return
    chosen = chosen_templates(settings.passportal_templates).get(entity.singular)
    usual = folded_label(DEFAULT_TEMPLATES[entity.singular])
    known = next(
        (template for template in templates if template.id == chosen or folded_label(template.name) == usual), None
    )
    default = known or max(templates, key=lambda template: template.documents)
    by_category: dict[str, Counter[str]] = defaultdict(Counter)
    for (category, id_), count in samples.categories.get(entity.name, {}).items():
        by_category[category][id_] += count
    lies: dict[str, list[tuple[str, int, int]]] = defaultdict(list)
    for category, where in by_category.items():
        id_, agreed = where.most_common(1)[0]
        compared = sum(where.values())
        if agreed >= AGREED_AT_LEAST and agreed >= SHARE_AT_LEAST * compared and id_ != default.id:
            lies[id_].append((category, agreed, compared))
    for template in templates:
        if found := lies.get(template.id):
            yield SuggestedTemplate(
                entity.name, template.id, template.name, tuple(category for category, _, _ in found),
                sum(agreed for _, agreed, _ in found), sum(compared for _, _, compared in found),
            )  # fmt: skip
    if known is None:
        yield SuggestedTemplate(
            entity.name, default.id, default.name, (), default.documents, sum(one.documents for one in templates)
        )
