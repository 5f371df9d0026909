"""What Dagster loads."""

from __future__ import annotations

import dagster as dg

from bms_pipeline.defs.instance.env_file import as_exported


@dg.definitions
def defs() -> dg.Definitions:
    """The Dagster assets from left to right, their checks, the jobs, and what launches them by itself."""
    as_exported()
    from bms_pipeline.defs.tenant import build_definitions  # reads the tenant's name when it is imported

    return build_definitions()
