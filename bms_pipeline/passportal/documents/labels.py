"""The labels of a tenant's templates: which there are, of what form, and in how many documents they are filled.

    memory of documents ──▶ labels file, at each snapshot ──▶ the page Fields, `mapping suggest`
    Passportal ──▶ a few documents of each template, whole ──▶ the same, and never a file

The file holds no value: the content of a tenant's documents stays in Passportal.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bms_pipeline.core.entities import Entity, EntityName
from bms_pipeline.core.files import atomic_write
from bms_pipeline.core.mapping import folded_label
from bms_pipeline.passportal.documents import encoding
from bms_pipeline.passportal.documents.client import PAGE_SIZE, DocumentsClient
from bms_pipeline.passportal.documents.encoding import DetailsForm, Document


@dataclass(frozen=True)
class Label:
    """A label of a template, as the tenant spells it. ``filled``: the number of documents with a text under it.

    ``is_alone``: no other label of the template folds to the same.
    """

    name: str
    form: DetailsForm
    filled: int
    is_alone: bool = True

    @property
    def takes_text(self) -> bool:
        """Whether a value can be written under it."""
        return self.is_alone and self.form.is_plain


@dataclass(frozen=True)
class TemplateLabels:
    """A template of documents and its labels. ``documents``: their number; ``read``: those whose fields were seen."""

    id: str
    name: str
    documents: int
    read: int
    labels: tuple[Label, ...] = ()

    def label(self, name: str | None) -> Label | None:
        """Return the label that folds to ``name``; None where there is none, or several are."""
        wanted = folded_label(name or "")
        return next((label for label in self.labels if folded_label(label.name) == wanted and label.is_alone), None)


@dataclass(frozen=True)
class SampledDocuments:
    """Documents read to be looked at. ``calls``: what they cost."""

    templates: Mapping[EntityName, tuple[TemplateLabels, ...]] = field(default_factory=dict)
    documents: Mapping[EntityName, tuple[Document, ...]] = field(default_factory=dict)
    calls: int = 0


def store_labels(file: Path, entity: Entity, templates: Sequence[TemplateLabels]) -> None:
    """Replace the labels of one entity in the file."""
    known = {name: list(map(asdict, found)) for name, found in read_labels(file).items()}
    known[entity.name] = list(map(asdict, templates))
    with atomic_write(file) as unfinished:
        unfinished.write_text(json.dumps(known, ensure_ascii=False, indent=1), encoding="utf-8", errors="replace")


def read_labels(file: Path) -> dict[EntityName, tuple[TemplateLabels, ...]]:
    """Return the labels of each entity; none where the file is absent or damaged: the next snapshot writes it."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return {name: tuple(map(_template, templates)) for name, templates in content.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _template(said: dict[str, Any]) -> TemplateLabels:
    labels = tuple(Label(**{**label, "form": DetailsForm(label["form"])}) for label in said["labels"])
    return TemplateLabels(**{**said, "labels": labels})


def labels_of(
    template_id: str, name: str, documents: int, seen: Iterable[Document], more: Iterable[str] = ()
) -> TemplateLabels:
    """Return the labels that these documents of a template show; ``more``: labels known otherwise."""
    forms: dict[str, set[DetailsForm]] = defaultdict(set)
    names: dict[str, Counter[str]] = defaultdict(Counter)
    filled: Counter[str] = Counter()
    alike: set[str] = set()
    read = 0
    for document in seen:
        read += 1
        here = Counter(folded_label(place.name) for place in document.elements.values())
        alike |= {key for key, places in here.items() if places > 1}
        for label, place in document.elements.items():
            key = folded_label(place.name)
            names[key][place.name] += 1
            forms[key].add(place.form)
            filled[key] += bool((document.values.get(label) or "").strip())
    for label in more:
        names[folded_label(label)][label] += 0
    found = tuple(
        Label(spelled.most_common(1)[0][0], form_of(forms[key]), filled[key], key not in alike)
        for key, spelled in names.items()
    )
    return TemplateLabels(template_id, name, documents, read, found)


def form_of(forms: Iterable[DetailsForm]) -> DetailsForm:
    """Return the form of a label that showed these: a typed one counts, for what is blank shows none."""
    seen = set(forms)
    typed = [form for form in DetailsForm if form in seen and not form.is_plain]
    if DetailsForm.LINK in typed and DetailsForm.TEXT in seen:  # a link may be shown as plain text
        typed.remove(DetailsForm.LINK)
    return typed[0] if typed else DetailsForm.TEXT if DetailsForm.TEXT in seen else DetailsForm.EMPTY


def sample_documents(
    client: DocumentsClient, wanted: Sequence[tuple[Entity, Sequence[str]]], *, connections: int, most: int
) -> SampledDocuments:
    """Read the ``wanted`` documents by id, and at most ``most`` of each template that their first page lists.

    The documents of an entity without a wanted one are chosen by that page alone, the newest first.
    """
    ids: dict[EntityName, list[str]] = {}
    names: dict[str, str] = {}
    counts: Counter[str] = Counter()
    calls = 0
    for entity, chosen in wanted:
        rows = next(client.pages(entity.singular, newest_first=True, page_size=PAGE_SIZE), [])
        calls += 1
        by_template: dict[str, list[str]] = defaultdict(list)
        for row in rows:
            listed = encoding.decoded_document(row)
            names.setdefault(listed.template_id, str(row.get("templateName") or listed.template_id))
            counts[listed.template_id] += 1
            if row.get("accessible") is not False and len(by_template[listed.template_id]) < most:
                by_template[listed.template_id].append(listed.id)
        others = [id_ for of_template in by_template.values() for id_ in of_template[: 3 if chosen else most]]
        ids[entity.name] = list(dict.fromkeys((*chosen, *others)))
    documents: dict[EntityName, tuple[Document, ...]] = {}
    templates: dict[EntityName, tuple[TemplateLabels, ...]] = {}
    with ThreadPoolExecutor(connections) as pool:
        for entity_name, chosen in ids.items():
            read = [found for found in pool.map(client.document, chosen) if found is not None]
            calls += len(chosen)
            documents[entity_name] = _with_names([encoding.decoded_document(found.document) for found in read], read)
            of: dict[str, list[Document]] = defaultdict(list)
            for document in documents[entity_name]:
                of[document.template_id].append(document)
            templates[entity_name] = tuple(
                labels_of(id_, names.get(id_, id_), counts[id_] or len(seen), seen) for id_, seen in of.items()
            )
    return SampledDocuments(templates, documents, calls)


def _with_names(documents: Sequence[Document], read: Sequence[Any]) -> tuple[Document, ...]:
    """Return the documents with the names of bare elements, which others of their template show."""
    names: dict[str, dict[str, str]] = defaultdict(dict)
    for document in documents:
        names[document.template_id] |= {at.key: at.name for at in document.elements.values() if at.has_name}
    return tuple(
        encoding.decoded_document(found.document, (), names[document.template_id])
        for document, found in zip(documents, read, strict=True)
    )
