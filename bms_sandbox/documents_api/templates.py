"""The templates that documents are made by, with their labels in order [L]."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Template:
    """A kind of document. ``type`` is one of the API's types of documents.

    ``spelled``: label → how the tenant spells it. ``types``: label → what it holds, where that is no plain text.
    ``options``: label → the only words that it takes. ``required``: the labels that must not be blank.
    """

    id: int
    name: str
    type: str
    labels: tuple[str, ...]
    spelled: Mapping[str, str] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    required: tuple[str, ...] = ()

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
        return replace(self, labels=labels, spelled=spelled, types=types, options=options, required=required)

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


def named(uid: object, form: str) -> Template | None:
    """The template that ``uid`` names in this form.

    "prefixed" (``tpl-79``, in any case), "capitals" (``TPL-79`` only), "bare" (``79``), or "either".
    """
    sent = str(uid).strip()
    text = sent.lower()
    number = text.removeprefix("tpl-")
    is_bare = number == text
    fits = form == "either" or (form == "bare") == is_bare
    fits = fits and (form != "capitals" or sent.startswith("TPL-"))
    return TEMPLATES.get(int(number)) if fits and number.isascii() and number.isdigit() else None


TEMPLATES = {each.id: each for each in (GENERIC_ASSET, NETWORK_DEVICE, CONTACT, LOCATION, SSL, VENDOR)}
DOCUMENT_TYPES = frozenset(
    {
        "asset", "active_directory", "application", "backup", "email", "file_sharing", "contact", "location",
        "internet", "lan", "printing", "remote_access", "vendor", "virtualization", "voice", "wireless", "licencing",
        "custom", "ssl",
    }
)  # fmt: skip
