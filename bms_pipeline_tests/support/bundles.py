"""Bundles made in a home, read like a stranger's, and replayed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import duckdb

from bms_pipeline.core.entities import ENTITIES
from bms_pipeline.support.whois import whois_file
from bms_pipeline_tests.running import Home

Standing = tuple[str, str]


def made(home: Home, name: str, *options: str) -> Path:
    ran = home.call("support", "--to", name, *options)
    assert ran.returncode == 0, ran.stderr
    return home.folder / name


def content(bundle: Path) -> dict[str, str]:
    with zipfile.ZipFile(bundle) as opened:
        return {name: opened.read(name).decode() for name in opened.namelist()}


def standings(home: Home, only: str = "true") -> dict[tuple[str, int], Standing]:
    return {
        (entity.name, bms_id): (disposition, reason)
        for entity in ENTITIES
        for bms_id, disposition, reason in home.warehouse(
            f"SELECT bms_id, disposition, reason FROM sync.reconciled_{entity.name} WHERE {only}"
        )
    }


def whois(home: Home) -> dict[str, dict[str, str]]:
    """What the home knows of the last bundle, by kind: stand-in → original."""
    found: dict[str, dict[str, str]] = json.loads(whois_file(home.folder).read_text().splitlines()[-1])["originals"]
    return found


def replayed(home: Home, bundle: Path, folder: Path) -> dict[tuple[str, int], Standing]:
    """The standings after `sandbox replay BUNDLE -- preview`, by the original ids."""
    cli = [sys.executable, "-m", "bms_pipeline.cli"]
    ran = subprocess.run(
        [*cli, "sandbox", "replay", str(bundle), "--home", str(folder), "--", *cli, "preview"],
        env={"PATH": home.environment["PATH"], "HOME": str(folder.parent)}, capture_output=True, text=True, timeout=280,
        check=False, cwd=folder.parent,
    )  # fmt: skip
    assert ran.returncode in (0, 2), ran.stderr
    ids = {int(number): int(original) for number, original in whois(home)["BMS id"].items()}
    with duckdb.connect(str(folder / "warehouse.duckdb"), read_only=True) as connection:
        return {
            (entity.name, ids[bms_id]): (disposition, reason)
            for entity in ENTITIES
            for bms_id, disposition, reason in connection.execute(
                f"SELECT bms_id, disposition, reason FROM sync.reconciled_{entity.name}"
            ).fetchall()
        }


def original_words(home: Home) -> set[str]:
    """Every word of four letters or more in a name, an e-mail address or a serial number, of either service."""
    found: set[str] = set()
    for entity in ENTITIES:
        columns = [column for column in ("name", "email", "serial_number") if column in entity.columns]
        for side in ("bms", "passportal"):
            for row in home.warehouse(f"SELECT {', '.join(columns)} FROM {side}.{entity.name}"):
                found |= {word for value in row for word in re.findall(r"[^\W_]{4,}", (value or "").casefold())}
    return {word for word in found if not word.isdigit()}


def lines(bundle: Path, table: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content(bundle)[f"tenant/{table}.ndjson"].splitlines()]


def number_of(home: Home, bms_id: int) -> int:
    """The number that stands for a BMS id in the last bundle."""
    return next(int(number) for number, original in whois(home)["BMS id"].items() if int(original) == bms_id)
