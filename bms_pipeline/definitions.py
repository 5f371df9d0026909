"""What Dagster loads."""

from __future__ import annotations

import dagster as dg

from bms_pipeline.defs.tenant import build_definitions


@dg.definitions
def defs() -> dg.Definitions:
    """The Dagster assets from left to right, their checks, the jobs, and what launches them by itself."""
    return build_definitions()
