"""Lakes for tests: a PostgreSQL on loopback, and in it a new catalog for each home folder that asks for one.

``BMS_PIPELINE_TEST_LAKE=1`` lets every ``running.Home`` have one: then the end-to-end suite runs on it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import shutil
import tempfile
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import duckdb

from bms_pipeline.core.settings import Settings
from bms_pipeline_tests import postgres

IS_WANTED = bool(os.environ.get("BMS_PIPELINE_TEST_LAKE"))
_PACKAGES = ("psycopg", "duckdb_extension_ducklake", "duckdb_extension_postgres_scanner")
_numbers = itertools.count(1)
_held = contextlib.ExitStack()


def why_no_lake() -> str:
    """Why there can be no lake here; empty where there can."""
    missing = [package for package in _PACKAGES if importlib.util.find_spec(package) is None]
    if missing:
        return f"{missing[0]} is not installed"
    of_another = [package for package in _PACKAGES[1:] if metadata.version(package) != duckdb.__version__]
    if of_another:
        return f"{of_another[0]} {metadata.version(of_another[0])} is not for DuckDB {duckdb.__version__}"
    return postgres.why_no_programs()


def new_lake(folder: Path, port: int = 0) -> dict[str, str]:
    """The settings of a new lake with its data in ``folder``: in the server of this process, or the one at ``port``."""
    port = port or _server()
    database = f"lake_{os.getpid()}_{next(_numbers)}"
    state, template = f"postgresql://dagster:{PASSWORD}@127.0.0.1:{port}/{database}", _template(port)
    shutil.copytree(template, folder)
    execute(port, f"CREATE DATABASE {database} TEMPLATE {_TEMPLATE}")
    execute(
        port, f"UPDATE bms_lake.ducklake_metadata SET value = '{folder}/bms_lake/' WHERE key = 'data_path'", database
    )
    return {"BMS_PIPELINE_STATE": state, "BMS_PIPELINE_LAKE": str(folder)}


PASSWORD = "canary-of-postgres"
"""A password of which nothing may be seen anywhere; the server trusts whoever knows any."""
_TEMPLATE = "lake_template"


def execute(port: int, statement: str, database: str = "dagster") -> list[tuple[Any, ...]]:
    """The rows of a statement in the server at ``port``."""
    import psycopg

    with psycopg.connect(host="127.0.0.1", port=port, user="dagster", dbname=database, autocommit=True) as session:
        result = session.execute(statement)
        return result.fetchall() if result.description else []


@cache
def _server() -> int:
    import atexit

    atexit.register(_held.close)
    return _held.enter_context(postgres.running_postgres())


@cache
def _template(port: int) -> Path:
    """Make a lake of this version that nobody has used; its data. Each new one is a copy: that saves seconds."""
    folder = Path(_held.enter_context(tempfile.TemporaryDirectory()))
    execute(port, f"CREATE DATABASE {_TEMPLATE}")
    settings = Settings(
        _env_file=None,  # type: ignore[call-arg]
        bms_pipeline_home=folder / "home",
        bms_pipeline_state=f"postgresql://dagster:{PASSWORD}@127.0.0.1:{port}/{_TEMPLATE}",  # type: ignore[arg-type]
        bms_pipeline_lake=str(folder / "lake"),
    )
    from bms_pipeline.warehouse.lake import LakeWarehouse  # not everywhere installed

    warehouse = LakeWarehouse(settings)
    with warehouse.open():
        pass
    warehouse.detach()
    return folder / "lake"
