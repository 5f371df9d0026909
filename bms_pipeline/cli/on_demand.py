"""The modules of the commands, each imported when a command first uses it.

`--help` and a mistyped command use none, `status` a few; importing all takes half a second. In Python 3.15 this is
``lazy import``.
"""

from __future__ import annotations

import importlib.util
import sys
from contextlib import AbstractContextManager
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bms_pipeline.core import notifications
    from bms_pipeline.core.settings import Settings
    from bms_pipeline.load import journal
    from bms_pipeline.plan import standings
    from bms_pipeline.reconcile import decisions, matching
    from bms_pipeline.reports import figures, inactive, plan_preview, same_names, stories
    from bms_pipeline.sync import (
        client_ids,
        deciding,
        fetch_details,
        label_samples,
        loading,
        mapping,
        planning,
        recovery,
        run_lock,
        services,
        suggested_mapping,
        whole_sync,
    )
    from bms_pipeline.warehouse.connection import Warehouse

_WHERE = {
    "core": ("notifications",),
    "load": ("journal",),
    "plan": ("standings",),
    "reconcile": ("decisions", "matching"),
    "reports": ("figures", "inactive", "plan_preview", "same_names", "stories"),
    "sync": (
        "client_ids", "deciding", "fetch_details", "label_samples", "loading", "mapping", "planning", "recovery",
        "run_lock", "services", "suggested_mapping", "whole_sync",
    ),
}  # fmt: skip

__all__ = [
    "client_ids", "deciding", "decisions", "fetch_details", "figures", "import_all", "inactive", "journal",
    "kept_open", "label_samples", "loading", "mapping", "matching", "notifications", "open_warehouse", "plan_preview",
    "planning", "read_settings", "recovery", "run_lock", "same_names", "services", "standings", "stories",
    "suggested_mapping", "whole_sync",
]  # fmt: skip


def _module(name: str) -> ModuleType:
    """Return a module to be imported at the first use of its content."""
    full_name = f"bms_pipeline.{name}"
    if full_name in sys.modules:
        return sys.modules[full_name]
    spec = importlib.util.find_spec(full_name)
    assert spec is not None and spec.loader is not None, full_name  # noqa: PT018, S101  # it is ours
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[full_name] = module
    spec.loader.exec_module(module)
    return module


if not TYPE_CHECKING:
    globals().update({name: _module(f"{package}.{name}") for package, names in _WHERE.items() for name in names})


def read_settings() -> Settings:
    """See ``settings.read_settings``."""
    from bms_pipeline.core import settings

    return settings.read_settings()


def kept_open() -> AbstractContextManager[None]:
    """See ``connection.kept_open``."""
    from bms_pipeline.warehouse import connection

    return connection.kept_open()


def open_warehouse(settings: Settings) -> Warehouse:
    """See ``connection.open_warehouse``."""
    from bms_pipeline.warehouse import connection

    return connection.open_warehouse(settings)


def import_all() -> None:
    """Import every module now, for a process whose children run commands."""
    for package, names in _WHERE.items():
        for name in names:
            vars(sys.modules[f"bms_pipeline.{package}.{name}"])
