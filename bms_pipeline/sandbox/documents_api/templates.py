"""The templates that documents are made by, with their labels in order [L]."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Template:
    """A kind of document. ``type`` is one of the API's types of documents."""

    id: int
    name: str
    type: str
    labels: tuple[str, ...]

    @property
    def uid(self) -> str:
        """How calls name it [G]."""
        return f"tpl-{self.id}"

    def without(self, labels: tuple[str, ...]) -> Template:
        """The template of a tenant that took ``labels`` out of it."""
        return replace(self, labels=tuple(each for each in self.labels if each not in labels))


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

TEMPLATES = {each.id: each for each in (GENERIC_ASSET, NETWORK_DEVICE, CONTACT, LOCATION, SSL, VENDOR)}
DOCUMENT_TYPES = frozenset(
    {
        "asset", "active_directory", "application", "backup", "email", "file_sharing", "contact", "location",
        "internet", "lan", "printing", "remote_access", "vendor", "virtualization", "voice", "wireless", "licencing",
        "custom", "ssl",
    }
)  # fmt: skip
