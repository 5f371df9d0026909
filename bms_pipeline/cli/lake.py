"""The command for a warehouse without a shared disk."""

from __future__ import annotations

import typer

from bms_pipeline.cli.on_demand import read_settings
from bms_pipeline.cli.output import AsJson, print_json, say

app = typer.Typer()


@app.command("maintain-lake", rich_help_panel="Copies")
def maintain_lake(as_json: AsJson = False) -> None:
    """Write tables of many small files again, and remove earlier states after a week. Dagster does it every night."""
    from bms_pipeline.sync import lake_maintenance

    done = lake_maintenance.maintain_lake(read_settings(), "bms-pipeline maintain-lake")
    if as_json:
        print_json(done)
        return
    say(f"Written again: {done.tables:,} tables. Removed: {done.snapshots:,} earlier states, {done.files:,} files.")
