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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VARIABLES = ("DAGSTER_PG_HOST", "DAGSTER_PG_DB", "DAGSTER_PG_USERNAME", "DAGSTER_PG_PASSWORD")
"""The variables that ``deploy/dagster.postgres.yaml`` reads, and below their values."""
VALUES = ("127.0.0.1", "dagster", "dagster", "pass/word")


def why_no_postgres() -> str:
    """Why there is no PostgreSQL for Dagster here; empty where there is one."""
    if importlib.util.find_spec("dagster_postgres") is None:
        return "dagster-postgres is not installed"
    return why_no_programs()


def why_no_programs() -> str:
    """Why no PostgreSQL can be started here; empty where one can."""
    return "" if _programs() else "PostgreSQL is not installed"


@dataclass
class Server:
    """A PostgreSQL on loopback with an empty database `dagster`; root starts it as the user postgres."""

    programs: Path
    folder: Path
    port: int
    libraries: str = ""

    def start(self) -> None:
        """Start it, also after ``stop``; its databases are as they were."""
        settings = {
            "listen_addresses": "127.0.0.1", "unix_socket_directories": str(self.folder), "max_connections": "300",
            "shared_preload_libraries": self.libraries,
        }  # fmt: skip
        options = " ".join(f"-c {name}={value}" for name, value in settings.items() if value)
        self.run("pg_ctl", "-D", "data", "-w", "-l", "log", "-o", f"-p {self.port} {options}", "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stop it; ``fast`` ends every session first, ``immediate`` is as a crash."""
        self.run("pg_ctl", "-D", "data", "-m", mode, "stop")

    def run(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs in the server's folder."""
        options: dict[str, Any] = {"check": True, "timeout": 120, "cwd": self.folder, "stdout": subprocess.DEVNULL}
        if os.geteuid() == 0:
            options |= {"user": "postgres", "group": "postgres", "extra_groups": []}
        subprocess.run([self.programs / program, *arguments], **options)


@contextmanager
def running_server(libraries: str = "") -> Iterator[Server]:
    """A running server, gone at the end; ``libraries``: those that it loads."""
    programs, folder = _programs(), Path(tempfile.mkdtemp())
    assert programs is not None
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server = Server(programs, folder, free.getsockname()[1], libraries)
    server.run("initdb", "-D", "data", "-A", "trust", "-U", "dagster")
    server.start()
    try:
        server.run("createdb", "-h", "127.0.0.1", "-p", str(server.port), "-U", "dagster", "dagster")
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


@contextmanager
def running_postgres() -> Iterator[int]:
    """The port of a running server."""
    with running_server() as server:
        yield server.port


def _programs() -> Path | None:
    found = shutil.which("initdb") or next(iter(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb"))), None)
    return Path(found).resolve().parent if found else None
