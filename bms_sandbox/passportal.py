"""The records a sandbox tenant's Passportal already holds, put into the embedded store like a person's import."""

from __future__ import annotations

from pathlib import Path

from bms_pipeline.core.entities import ENTITIES
from bms_pipeline.passportal.embedded import EmbeddedPassportal


def fill_passportal(file: Path, tenant_folder: Path) -> None:
    """Make the embedded Passportal ``file`` from a saved tenant, whole or not at all; an existing one stays."""
    if file.exists():
        return
    unfinished = file.with_name(f"{file.name}.filling")
    unfinished.unlink(missing_ok=True)
    for entity in ENTITIES:
        EmbeddedPassportal(unfinished).import_file(entity, tenant_folder / "passportal" / f"{entity.name}.ndjson")
    unfinished.replace(file)
