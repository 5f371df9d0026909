"""A resource for your own Dagster assets: what the sync stored, as DataFrames and relations. It cannot write.

Put it into your own code location, next to assets that depend on ours by key; see ``docs/downstream.py``.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import dagster as dg
import duckdb
from pydantic import Field

from bms_pipeline import frames

if TYPE_CHECKING:
    import pandas as pd


class ReadOnlyHome(dg.ConfigurableResource[Any]):
    """The home folder of one tenant, to read. Errors are those of ``bms_pipeline.frames``, so your retries apply."""

    home: str = Field(default="", description="The home folder; empty: that of the environment or of `.env`.")

    def frame(self, name: str) -> pd.DataFrame:
        """Return the table ``name`` as a DataFrame; see ``bms_pipeline.frames`` for names and columns."""
        return frames.frame(name, self.home or None)

    def relations(self) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        """Open all tables as relations, for SQL and Arrow. Leave the block soon: runs wait for it."""
        return frames.relations(self.home or None)
