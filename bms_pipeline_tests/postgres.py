"""A PostgreSQL of the system's packages on loopback, for tests of what Dagster keeps in it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

VARIABLES = ("DAGSTER_PG_HOST", "DAGSTER_PG_DB", "DAGSTER_PG_USERNAME", "DAGSTER_PG_PASSWORD")
"""The variables that ``deploy/dagster.postgres.yaml`` reads, and below their values."""
VALUES = ("127.0.0.1", "dagster", "dagster", "pass/word")


def why_no_postgres() -> str:
    """Why there is no PostgreSQL for Dagster here; empty where there is one."""
    if importlib.util.find_spec("dagster_postgres") is None:
        return "dagster-postgres is not installed"
    return "" if _programs() else "PostgreSQL is not installed"


@contextmanager
def running_postgres() -> Iterator[int]:
    """The port of a PostgreSQL on loopback with an empty database `dagster`; root starts it as the user postgres."""
    programs, folder = _programs(), Path(tempfile.mkdtemp())
    assert programs is not None
    options: dict[str, Any] = {"check": True, "timeout": 120, "cwd": folder, "stdout": subprocess.DEVNULL}
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
        options |= {"user": "postgres", "group": "postgres", "extra_groups": []}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
    control = [programs / "pg_ctl", "-D", folder / "data"]
    subprocess.run([programs / "initdb", "-D", folder / "data", "-A", "trust", "-U", "dagster"], **options)
    subprocess.run([*control, "-w", "-l", folder / "log", "-o", server, "start"], **options)
    try:
        subprocess.run(
            [programs / "createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "dagster", "dagster"], **options
        )
        yield port
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], **options)
        shutil.rmtree(folder)


def _programs() -> Path | None:
    found = shutil.which("initdb") or next(iter(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb"))), None)
    return Path(found).resolve().parent if found else None
