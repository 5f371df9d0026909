"""The command for a monitoring system that reads a file or an output instead of the console's ``/metrics``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from bms_pipeline.cli.on_demand import open_warehouse, read_settings
from bms_pipeline.warehouse.binding import without_pandas

app = typer.Typer()


@app.command("metrics")
def metrics_command(
    textfile: Annotated[
        Path | None, typer.Option(help="Replace this file at once, for node_exporter: its name ends in .prom.")
    ] = None,
) -> None:
    """Print the metrics of this home folder in Prometheus' text format.

    It only reads. Without a home folder, or where a run holds the database for too long, it ends with 1 and leaves the
    file as it is.
    """
    from bms_pipeline.core.errors import SettingsError
    from bms_pipeline.reports import metrics

    if textfile is not None and textfile.suffix != ".prom":
        raise SettingsError(
            f"{textfile} does not end in .prom, and node_exporter reads no other file.", "Name it NAME.prom."
        )
    settings = read_settings()
    with without_pandas(), open_warehouse(settings).read_only() as connection:
        samples = metrics.warehouse_samples(connection)
    text = metrics.prometheus_text([*samples, *metrics.home_samples(settings)], metrics.tenant_of(settings))
    if textfile is None:
        sys.stdout.write(text)
    else:
        metrics.write_textfile(text, textfile)
