"""An examination of a stranger's BMS and Passportal, which hold one tenant and have some habits."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from bms_pipeline.core.settings import Settings
from bms_pipeline.doctor.examine import examine
from bms_pipeline.doctor.findings import Examination
from bms_pipeline.warehouse.connection import Warehouse
from bms_pipeline_tests.stranger import bms as vendor
from bms_pipeline_tests.stranger import passportal as target
from bms_pipeline_tests.stranger.bms import Bms, BmsHabits
from bms_pipeline_tests.stranger.passportal import Passportal, PassportalHabits
from bms_pipeline_tests.stranger.serving import Answer, Request, serving
from bms_pipeline_tests.stranger.tenants import Tenant, tenant

Wrapped = Callable[[Callable[[Request], Answer]], Callable[[Request], Answer]]


@dataclass(frozen=True)
class Examined:
    """A report, and the calls that reached each service, as ``METHOD /path?query``."""

    report: Examination
    bms_calls: list[str]
    passportal_calls: list[str]
    writes: list[str]


@functools.cache
def a_tenant() -> Tenant:
    """A tenant of 30 accounts, 114 contacts, 18 employees and 138 assets."""
    return tenant(7, 7, 300)


def filled(habits: PassportalHabits) -> Passportal:
    """A Passportal with three clients and some documents of a person in each."""
    passportal = Passportal(habits, 7)
    clients = [passportal.add_client(name) for name in ("Ann's & Co", "Beta GmbH", "Company Vault")]
    for number, client in enumerate(clients * 4):
        for kind in ("asset", "contact", "location"):
            values = {label: f"{label} {number}" for label in passportal.labels(kind) if label not in _BLANK}
            passportal.add_document(kind, client, f"{kind} no. {number} & more", **values)
    return passportal


_BLANK = ("Asset Tag", "Fax", "ID", "Integration Type", "Status")


def examined(
    folder: Path,
    bms: BmsHabits,
    passportal: PassportalHabits | None = None,
    *,
    environment: Mapping[str, Any] | None = None,
    wrapped: Wrapped = lambda answer: answer,
) -> Examined:
    """Examine strangers with these habits. ``wrapped``: changes the answers of Passportal."""
    records = {name: [dict(row) for row in rows] for name, rows in a_tenant().records.items()}
    own, theirs = Bms(records, bms, 11), None if passportal is None else filled(passportal)
    with ExitStack() as running:
        settings = Settings(
            _env_file=None,  # type: ignore[call-arg]
            bms_api_url=running.enter_context(serving(own.answer)),
            bms_tenant=vendor.TENANT,
            bms_username=vendor.USERNAME,
            bms_password=SecretStr(vendor.PASSWORD),
            bms_pipeline_home=folder,
        )
        if theirs is not None:
            there = {
                "passportal_target": "documents_api",
                "passportal_url": running.enter_context(serving(wrapped(theirs.answer))),
                "passportal_key_id": target.KEY_ID,
                "passportal_secret": SecretStr(target.SECRET),
            }
            settings = settings.model_copy(update=there)
        report = examine(settings.model_copy(update=dict(environment or {})))
    calls, writes = (theirs.calls, theirs.writes) if theirs else ([], [])
    return Examined(report, own.calls, calls, writes)


def facts(report: Examination) -> dict[str, str]:
    """Code → value, of what was proved."""
    return {finding.code: finding.value for finding in report.findings if finding.value is not None}


def changed(before: Examination, after: Examination) -> dict[str, str | None]:
    """Code → value now (None: not proved any more) of the facts that differ."""
    old, new = facts(before), facts(after)
    return {code: new.get(code) for code in sorted({*old, *new} - ADDRESSES) if old.get(code) != new.get(code)}


ADDRESSES = frozenset({"BMS-LOGIN", "PP-KEY"})
"""Facts with the address of a test's own server."""


@functools.cache
def empty_warehouse() -> bytes:
    """A new warehouse, of which each home gets a copy: making it takes half a second."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "warehouse")
        with Warehouse(file).open():
            pass
        return file.read_bytes()


def new_home(folder: Path) -> Path:
    """A home folder with an empty warehouse."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "warehouse.duckdb").write_bytes(empty_warehouse())
    return folder
