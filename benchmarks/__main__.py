"""``make bench``: every figure that the project promises, as ratios within one run. Takes a quarter of an hour.

``python -m benchmarks landing|tenant`` runs one part; ``--records`` sets the sizes of the first.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import whole_tenant

out = Console(highlight=False)
DLT_AT_MOST = 100_000
"""More records than this take dlt the better part of an hour; its ratio only grows with them."""


@contextmanager
def served(count: int) -> Iterator[str]:
    """The address of a process that serves ``count`` contacts."""
    command = [sys.executable, "-m", "benchmarks.served_contacts", str(count)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            if process.stdout is None:
                raise AssertionError("its output is a pipe")
            yield json.loads(process.stdout.readline())["url"]
        finally:
            process.terminate()


def measure(way: str, url: str, folder: Path) -> dict[str, Any]:
    """Run one way in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.ways_to_land", way, url, str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise SystemExit(f"{way} failed:\n{result.stderr}")
    measured: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return measured


def landing(count: int) -> None:
    """Extract and land ``count`` records, against the limit and against what a user would pick instead."""
    with served(count) as url, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ways = {way: measure(way, url, folder) for way in ("ours", "read_json", "pandas")}
        if count <= DLT_AT_MOST:
            ways["dlt"] = measure("dlt", url, folder)
    ours, limit = ways["ours"], ways["read_json"]
    table = Table(title=f"{count:,} contacts, 100 a page", title_justify="left")
    for column in ("way", "seconds", "peak MiB", "rows"):
        table.add_column(column, justify="left" if column == "way" else "right")
    for way, measured in ways.items():
        table.add_row(way, f"{measured['seconds']:.2f}", f"{measured['peak_mib']:.0f}", f"{measured['rows']:,}")
    out.print(table)
    land = ours["seconds"] - ours["extract"]
    said(
        f"extract + land ÷ read_json of the same bytes (land alone {land / limit['seconds']:.2f})",
        ours["seconds"] / limit["seconds"],
        "≤ 2",
    )
    said("requests + pandas loop ÷ ours", ways["pandas"]["seconds"] / ours["seconds"], "≥ 3")
    if "dlt" in ways:
        said("dlt REST source → DuckDB merge ÷ ours", ways["dlt"]["seconds"] / ours["seconds"], "≥ 10")
    said("calls made ÷ calls that the paging makes necessary", ours["calls"] / ours["necessary"], "≤ 1.05")
    said("peak memory, MiB", ours["peak_mib"], "< 1024")


def said(what: str, figure: float, target: str) -> None:
    """Print one figure beside its target."""
    out.print(f"  {what}: [bold]{figure:.2f}[/] (target {target})")


def main() -> None:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("part", nargs="?", choices=("landing", "tenant", "all"), default="all")
    parser.add_argument("--records", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--size", default="large", help="of the tenant: small, typical, large")
    options = parser.parse_args()
    if options.part in ("landing", "all"):
        for count in options.records:
            landing(count)
    if options.part in ("tenant", "all"):
        for what, figure, target in whole_tenant.measured(options.size):
            said(what, figure, target)


if __name__ == "__main__":
    main()
