"""The templates that documents are made by, with their labels in order [L], or a tenant's own from a TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

from bms_pipeline.core.entities import BY_NAME


@dataclass(frozen=True)
class Template:
    """A kind of document. ``type`` is one of the API's types of documents.

    ``spelled``: label → how the tenant spells it. ``types``: label → what it holds, where that is no plain text.
    ``options``: label → the only words that it takes. ``required``: the labels that must not be blank. ``most``: label
    → the most characters that it takes.

    What the tenant's documents hold at first: ``holds``: label → the column of the seed, ``words``: label → the
    tenant's words for those of the seed, ``always``: label → a text in each document. ``categories``: the asset
    categories kept in it; none for those that no other template names.
    """

    id: int
    name: str
    type: str
    labels: tuple[str, ...]
    spelled: Mapping[str, str] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    most: Mapping[str, int] = field(default_factory=dict)
    holds: Mapping[str, str] = field(default_factory=dict)
    words: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    always: Mapping[str, str] = field(default_factory=dict)
    categories: tuple[str, ...] = ()

    @property
    def uid(self) -> str:
        """How calls name it [G]."""
        return f"tpl-{self.id}"

    def changed(
        self,
        *,
        missing: tuple[str, ...],
        added: tuple[str, ...],
        spelled: Mapping[str, str],
        types: Mapping[str, str],
        options: Mapping[str, tuple[str, ...]],
        required: tuple[str, ...],
    ) -> Template:
        """The template as a tenant made it, which took labels out of it and put others in."""
        labels = (*(each for each in self.labels if each not in missing), *added)
        return replace(
            self,
            labels=labels,
            spelled={**self.spelled, **spelled},
            types={**self.types, **types},
            options={**self.options, **options},
            required=(*self.required, *required),
        )

    def shown(self, label: str) -> str:
        """How the tenant spells ``label``."""
        return self.spelled.get(label, label)


def key(label: str) -> str:
    """The key made from ``label``: ``State / Province`` is ``state_/_province`` [D]."""
    return label.lower().replace(" ", "_")


_ASSET_LABELS = (
    "Name", "Type", "Status", "Serial Number", "Manufacturer", "Model", "Location", "Hostname", "Primary IP",
    "MAC Address", "Default Gateway", "Operating System", "Platform", "Asset Tag", "Assigned User", "Purchase Date",
    "Install Date", "Expiration Date", "Notes",
)  # fmt: skip

GENERIC_ASSET = Template(79, "Generic Asset", "asset", (*_ASSET_LABELS, "ID", "Integration Type"))
NETWORK_DEVICE = Template(113, "Network Device", "asset", (*_ASSET_LABELS, "Firmware", "Management URL"))
"""A tenant's own template: it has nowhere to put another system's id."""
CONTACT = Template(
    5000,
    "Contact",
    "contact",
    (
        "Contact Type", "Primary Contact", "Job Title", "First Name", "Middle Name", "Last Name", "Location", "Phone",
        "Mobile Phone", "Extension", "Fax", "Email Address", "Notes",
    ),
)  # fmt: skip
LOCATION = Template(
    5001,
    "Location",
    "location",
    (
        "Name", "Address 1", "Address 2", "City", "State / Province", "ZIP / Postal Code", "Country", "Phone", "Fax",
        "Notes",
    ),
)  # fmt: skip
SSL = Template(212, "SSL Certificate", "ssl", ("Name", "Issued To", "Issued By", "Expiration Date", "Notes"))
VENDOR = Template(340, "Vendor", "vendor", ("Name", "Account Number", "Phone", "Website", "Notes"))


def named(uid: object, form: str, templates: Mapping[int, Template]) -> Template | None:
    """The one of ``templates`` that ``uid`` names in this form.

    "prefixed" (``tpl-79``, in any case), "capitals" (``TPL-79`` only), "bare" (``79``), or "either".
    """
    sent = str(uid).strip()
    text = sent.lower()
    number = text.removeprefix("tpl-")
    is_bare = number == text
    fits = form == "either" or (form == "bare") == is_bare
    fits = fits and (form != "capitals" or sent.startswith("TPL-"))
    return templates.get(int(number)) if fits and number.isascii() and number.isdigit() else None


TEMPLATES = {each.id: each for each in (GENERIC_ASSET, NETWORK_DEVICE, CONTACT, LOCATION, SSL, VENDOR)}
DOCUMENT_TYPES = frozenset(
    {
        "asset", "active_directory", "application", "backup", "email", "file_sharing", "contact", "location",
        "internet", "lan", "printing", "remote_access", "vendor", "virtualization", "voice", "wireless", "licencing",
        "custom", "ssl",
    }
)  # fmt: skip

LANGUAGES = ("de",)
"""The languages with templates of their own, next to Passportal's own in English."""
_TYPES = {
    "text": "", "date": "date", "number": "number", "select": "select", "checkbox": "boolean", "rich text": "html",
    "link": "link",
}  # fmt: skip
"""The type of a label in a file → what an element shows."""
PLAIN = frozenset({"date", "number"})
"""Types of labels whose elements hold plain text of a certain form."""


class TemplatesRefused(ValueError):
    """The file of a tenant's templates cannot be understood."""


@dataclass(frozen=True)
class TenantTemplates:
    """A tenant's templates by id. ``switches``: those of ``PassportalBehaviour`` that the tenant begins with."""

    by_id: Mapping[int, Template]
    switches: Mapping[str, Any] = field(default_factory=dict)


def file_of(language: str) -> Path:
    """The file with the templates of a tenant in this language."""
    if language not in LANGUAGES:
        raise TemplatesRefused(f"There is no sandbox in {language!r}: choose from {', '.join(LANGUAGES)}.")
    return Path(str(resources.files("bms_sandbox.documents_api").joinpath(f"templates_{language}.toml")))


def read_templates(file: Path) -> TenantTemplates:
    """The templates in a TOML file.

    Each ``[[template]]`` has ``id``, ``name``, ``type``, maybe ``categories``, and ``[template.fields]``: label → the
    column that it holds ("" for none), or a table of ``holds``, ``type``, ``options``, ``required``, ``most``,
    ``words`` and ``always``. ``[switches]``: the behaviour. Raises ``TemplatesRefused`` for anything else.
    """
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
        found = [_template(entry) for entry in content.pop("template")]
        switches = content.pop("switches", {})
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise TemplatesRefused(f"{file} holds no templates: {error}") from error
    by_id = {template.id: template for template in found}
    if content or len(by_id) < len(found):
        raise TemplatesRefused(f"{file}: {', '.join(content) or 'an id stands for several templates'}")
    return TenantTemplates(by_id, switches)


def _template(entry: dict[str, Any]) -> Template:
    fields = {label: told if isinstance(told, dict) else {"holds": told} for label, told in entry.pop("fields").items()}
    columns = {column for entity in BY_NAME.values() for column in entity.columns}
    for label, told in fields.items():
        strange = sorted(told.keys() - {"holds", "type", "options", "required", "most", "words", "always"})
        if strange or told.get("type", "text") not in _TYPES or told.get("holds", "") not in {"", *columns}:
            raise TemplatesRefused(f"the field {label!r} cannot be understood: {told}")

    def having(name: str) -> dict[str, Any]:
        return {label: told[name] for label, told in fields.items() if told.get(name)}

    return Template(
        **{**entry, "categories": tuple(entry.get("categories", ()))},
        labels=tuple(fields),
        types={label: _TYPES[kind] for label, kind in having("type").items() if _TYPES[kind]},
        options={label: tuple(options) for label, options in having("options").items()},
        required=tuple(having("required")),
        most=having("most"),
        holds=having("holds"),
        words=having("words"),
        always=having("always"),
    )
