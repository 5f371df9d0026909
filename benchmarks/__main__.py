"""``make bench``: every figure that the project promises, as ratios within one run. Takes a quarter of an hour.

``python -m benchmarks PART`` runs one part: counts, landing, tenant, peers, load, backfill, suggestions, details,
documents, writes, console, oneclient, mapping, deciding, lake or tenants. ``--records`` sets the sizes to land, to
suggest for and to write, ``--size`` the tenant. ``tenants`` takes up to an hour, so it runs only when it is named.
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

from benchmarks import (
    backfill,
    console,
    counts,
    deciding,
    details,
    documents,
    load,
    mapping,
    one_client,
    peers,
    tenants,
    whole_tenant,
    writes,
)  # fmt: skip

out = Console(highlight=False)
DLT_AT_MOST = 100_000
"""More records than this take dlt the better part of an hour; its ratio only grows with them."""

SPLINK_AT_MOST = 10_000


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


def measure(way: str, *arguments: object, ways: str = "ways_to_land") -> dict[str, Any]:
    """Run one way in a process of its own."""
    command = [sys.executable, "-m", f"benchmarks.{ways}", way, *map(str, arguments)]
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
    show("land ÷ read_json of the same bytes", land / limit["seconds"], "≤ 1.6 at 1,000,000")
    show("requests + pandas loop ÷ ours", ways["pandas"]["seconds"] / ours["seconds"], "≥ 3")
    if "dlt" in ways:
        show("dlt REST source → DuckDB merge ÷ ours", ways["dlt"]["seconds"] / ours["seconds"], "≥ 10")
    show("calls made ÷ calls that the paging makes necessary", ours["calls"] / ours["necessary"], "≤ 1.05")
    show("peak memory, MiB", ours["peak_mib"], "< 1024")


def suggestions(kind: str, count: int) -> None:
    """Find the true partners of ``count`` records, against the bare computation and against Splink."""
    with tempfile.TemporaryDirectory() as name:
        file = Path(name, "warehouse.duckdb")
        measure("fill", kind, count, file, ways="suggestions")
        names = ["ours", "bare", "splink"] if count <= SPLINK_AT_MOST else ["ours", "bare"]
        ways = {way: measure(way, kind, count, file, ways="suggestions") for way in names}
    table = Table(title=f"{count:,} {kind}, each with one true partner", title_justify="left")
    for column in ("way", "seconds", "peak MiB", "top-1", "top-5"):
        table.add_column(column, justify="left" if column == "way" else "right")
    for way, measured in ways.items():
        figures = [f"{measured[each]:.4f}" for each in ("top1", "top5")]
        table.add_row(way, f"{measured['seconds']:.2f}", f"{measured['peak_mib']:.0f}", *figures)
    out.print(table)
    bands = Table(title="precision by score", title_justify="left")
    for column in ("score of the first suggestion", "records", "is the partner"):
        bands.add_column(column, justify="right")
    for band, records, share in ways["ours"]["bands"]:
        bands.add_row(band, f"{records:,}", f"{share:.3f}" if records else "")
    out.print(bands)
    ours, bare = ways["ours"], ways["bare"]
    show("suggest ÷ bare trigrams and re-ranking of plain lists", ours["seconds"] / bare["seconds"], "≤ 2")
    if "splink" in ways:
        show("Splink ÷ suggest, seconds", ways["splink"]["seconds"] / ours["seconds"], "≥ 1")
    for first, target in (("top1", 0.992), ("top5", 0.999)):
        wanted = f"≥ {bare[first]:.4f}, the bare way's" + (f"; ≥ {target}" if kind == "companies" else "")
        out.print(f"  {first}: [bold]{ours[first]:.4f}[/] (target {wanted})")


def read_details(assets: int, limit: int = 1500, kills: int = 10) -> None:
    """Read all details inside the limit, on a virtual clock, interrupted by SIGKILL."""
    found = details.measured(assets, limit, kills)
    out.print(
        f"{found.landed:,} of {found.assets:,} details read and landed in {found.runs} runs, {found.kills} of them"
        f" killed; {found.in_passportal:,} assets completed in Passportal; took {found.seconds:.0f} s"
    )
    show(f"virtual hours at {limit:,} calls an hour", found.hours, f"≤ {34 * assets / 50_000:.1f}")
    show(f"calls made ÷ necessary ({found.calls - found.assets} lost in flight)", found.calls / found.assets, "1.00")
    show(f"hourly lists of all assets meanwhile disturbed, of {found.lists}", len(found.disturbed), "0")
    for why in found.disturbed:
        out.print(f"    {why}")


def show(what: str, figure: float, target: str) -> None:
    """Print one figure beside its target."""
    out.print(f"  {what}: [bold]{figure:.2f}[/] (target {target})")


def main() -> None:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("part", nargs="?", choices=(*PARTS, "all"), default="all")
    parser.add_argument("--records", type=int, nargs="+", help="default: 100000 1000000 to land, 10000 to suggest")
    parser.add_argument("--tenants", type=int, nargs="+", default=[1, 5, 10, 25, 50], help="how many share a machine")
    parser.add_argument("--seconds", type=float, default=3600, help="tenants: no round that would take longer")
    parser.add_argument("--size", default="large", help="of the tenant: small, typical, large")
    options = parser.parse_args()
    for part in [name for name in PARTS if name != "tenants"] if options.part == "all" else [options.part]:
        PARTS[part](options)


def _counts(options: argparse.Namespace) -> None:
    for size in ("small", "typical") if options.part == "all" else (options.size,):
        for what, figure, target in counts.measured(size):
            show(what, figure, target)


def _landing(options: argparse.Namespace) -> None:
    for count in options.records or [100_000, 1_000_000]:
        landing(count)


def _tenant(options: argparse.Namespace) -> None:
    for what, figure, target in whole_tenant.measured(options.size):
        show(what, figure, target)


def _peers(options: argparse.Namespace) -> None:
    for what, figure, target in peers.measured("typical" if options.part == "all" else options.size):
        show(what, figure, target)


def _load(options: argparse.Namespace) -> None:
    for what, figure, target in load.measured("typical" if options.part == "all" else options.size):
        show(what, figure, target)


def _backfill(options: argparse.Namespace) -> None:
    for size in ("typical", "large") if options.part == "all" else (options.size,):
        for what, figure, target in backfill.measured(size):
            show(what, figure, target)


def _suggestions(options: argparse.Namespace) -> None:
    for count in options.records if options.records and options.part == "suggestions" else [10_000]:
        suggestions("companies", count)
        suggestions("people", count // 2)


def _details(options: argparse.Namespace) -> None:
    read_details(50_000)


def _documents(options: argparse.Namespace) -> None:
    for what, figure, target in documents.measured("typical" if options.part == "all" else options.size):
        show(what, figure, target)


def _writes(options: argparse.Namespace) -> None:
    for what, figure, target in writes.measured((options.records or [1000])[0] if options.part == "writes" else 1000):
        show(what, figure, target)


def _console(options: argparse.Namespace) -> None:
    for what, figure, target in console.measured("typical" if options.part == "all" else options.size):
        show(what, figure, target)


def _one_client(options: argparse.Namespace) -> None:
    for what, figure, target in one_client.measured("typical" if options.part == "all" else options.size):
        show(what, figure, target)


def _mapping(options: argparse.Namespace) -> None:
    for what, figure, target in mapping.measured("typical" if options.part == "all" else options.size):
        show(what, figure, target)


def _deciding(options: argparse.Namespace) -> None:
    for what, figure, target in deciding.measured("typical" if options.part == "all" else options.size):
        show(what, figure, target)


def _tenants(options: argparse.Namespace) -> None:
    table = Table(title="tenants on one machine", title_justify="left")
    for column in (
        "tenants", "code servers MiB", "daemon MiB", "cores at rest", "of them the daemon", "a round s",
        "a tenant s", "processor s a tenant", "peak MiB", "failed",
    ):  # fmt: skip
        table.add_column(column, justify="right")
    for found in tenants.measured(options.tenants, options.seconds):
        count = found.tenants
        table.add_row(
            str(count), f"{found.servers:.0f}", f"{found.daemon:.0f}", f"{found.busy:.2f}", f"{found.of_daemon:.2f}",
            *([f"{found.wall:.0f}", f"{found.wall / count:.1f}", f"{found.processor / count:.1f}", f"{found.peak:.0f}"]
              if found.wall else ["", "", "", ""]), str(found.failed),
        )  # fmt: skip
        out.print(found)
    out.print(table)


def _lake(options: argparse.Namespace) -> None:
    from benchmarks import lake  # it needs the extra `scale`

    for what, figure, target in lake.measured("typical" if options.part == "all" else options.size):
        show(what, figure, target)


PARTS = {
    "counts": _counts,
    "landing": _landing,
    "tenant": _tenant,
    "peers": _peers,
    "load": _load,
    "backfill": _backfill,
    "suggestions": _suggestions,
    "details": _details,
    "documents": _documents,
    "writes": _writes,
    "console": _console,
    "oneclient": _one_client,
    "mapping": _mapping,
    "deciding": _deciding,
    "tenants": _tenants,
    "lake": _lake,
}

if __name__ == "__main__":
    main()
