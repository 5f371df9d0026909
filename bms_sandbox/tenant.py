"""The tenant: every BMS record on the wire, the records already in Passportal, and the truth about both.

Records are kept as compact JSON, so a page is served by joining bytes. Size and seed alone determine a tenant; it is
saved as NDJSON, readable by DuckDB, ``jq`` or an editor.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import msgspec

from bms_pipeline.core.entities import ENTITIES, LIST_CALLS
from bms_sandbox.population.clients import ACCOUNT_TYPES, Clients, Extent
from bms_sandbox.population.draft import Draft
from bms_sandbox.population.truth import Truth
from bms_sandbox.population.users import Users

Size = Literal["small", "typical", "large"]
SIZES: tuple[Size, ...] = get_args(Size)

_EXTENTS = {
    "small": Extent(clients=20, users=12, locations=40, contacts=200, assets=400),
    "typical": Extent(clients=500, users=50, locations=2_000, contacts=20_000, assets=50_000),
    "large": Extent(clients=10_000, users=200, locations=40_000, contacts=500_000, assets=1_000_000),
}


@dataclass
class Tenant:
    """A whole tenant. ``rows`` are by list call (``accounts``, ...), ``passportal`` by entity (``clients``, ...).

    ``spent``: values used by mutations, never to be given again after the record is deleted: the highest id of each
    kind of record, and the latest moment. ``details``: asset id → its detail, where that is not derived from its row.
    """

    rows: dict[str, list[bytes]]
    account_types: list[bytes]
    passportal: dict[str, list[bytes]]
    truth: Truth
    folder: Path | None = field(default=None, compare=False)
    spent: dict[str, int] = field(default_factory=dict, compare=False)
    details: dict[int, bytes] = field(default_factory=dict, compare=False)

    def save(self, folder: Path) -> None:
        """Write the tenant to ``folder``; from then on it lives there."""
        (folder / "passportal").mkdir(parents=True, exist_ok=True)
        for name, rows in self.rows.items():
            _write_lines(folder / f"{name}.ndjson", rows)
        _write_lines(folder / "account_types.ndjson", self.account_types)
        if self.details:
            _write_lines(folder / "details.ndjson", list(self.details.values()))
        for name, rows in self.passportal.items():
            _write_lines(folder / "passportal" / f"{name}.ndjson", rows)
        _replace(folder / "truth.json", msgspec.json.encode(self.truth))
        self.folder = folder

    def save_rows(self) -> None:
        """Write the BMS records again, after they changed. The truth stays that of the generated tenant."""
        if self.folder is not None:
            for name, rows in self.rows.items():
                _write_lines(self.folder / f"{name}.ndjson", rows)
            _replace(self.folder / "spent.json", msgspec.json.encode(self.spent))

    @classmethod
    def load(cls, folder: Path) -> Tenant:
        """Load the tenant saved in ``folder``."""
        spent, details = folder / "spent.json", folder / "details.ndjson"
        return cls(
            rows={call.name: _read_lines(folder / f"{call.name}.ndjson") for call in LIST_CALLS},
            account_types=_read_lines(folder / "account_types.ndjson"),
            passportal={
                entity.name: _read_lines(folder / "passportal" / f"{entity.name}.ndjson") for entity in ENTITIES
            },
            truth=msgspec.json.decode((folder / "truth.json").read_bytes(), type=Truth),
            folder=folder,
            spent=msgspec.json.decode(spent.read_bytes()) if spent.exists() else {},
            details={_id_of(row): row for row in _read_lines(details)} if details.exists() else {},
        )


def generate(size: Size, seed: int) -> Tenant:
    """Generate the tenant of ``size`` and ``seed``: always the same bytes."""
    draft = Draft(size, seed)
    extent = _EXTENTS[size]
    Users(draft).populate(extent.users)
    Clients(draft).populate(extent)
    draft.shuffle()
    return Tenant(
        rows=draft.rows,
        account_types=[account_type.encode() for account_type in ACCOUNT_TYPES],
        passportal=draft.passportal,
        truth=draft.truth,
    )


def _id_of(row: bytes) -> int:
    found: int = msgspec.json.decode(row)["id"]
    return found


def _write_lines(file: Path, rows: list[bytes]) -> None:
    _replace(file, b"".join(row + b"\n" for row in rows))


def _read_lines(file: Path) -> list[bytes]:
    return file.read_bytes().splitlines()


def _replace(file: Path, content: bytes) -> None:
    """Write ``file`` whole or not at all."""
    partial = file.with_name(f"{file.name}.partial")
    partial.write_bytes(content)
    partial.replace(file)
