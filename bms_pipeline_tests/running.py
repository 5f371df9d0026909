"""A sandbox, a home folder and the command line, for every test that runs the product as a whole."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, chdir, closing, contextmanager, nullcontext, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import duckdb
import pytest

from bms_pipeline.bms.client import BmsClient
from bms_pipeline.cli import app
from bms_pipeline.core.settings import Settings
from bms_pipeline.sync import planning, services
from bms_pipeline.warehouse.connection import connect, open_warehouse
from bms_pipeline_tests import lake
from bms_sandbox.passportal import fill_passportal
from bms_sandbox.process import Sandbox, SandboxPassportal, import_new_files, running_passportal, running_sandbox
from bms_sandbox.tenant import Size

LIMITS = {"BMS_CALLS_PER_HOUR": "100000"}
_OURS = ("BMS_", "PASSPORTAL_", "AWS_")
_RECORDS = """
CREATE TABLE records AS
SELECT row_number() OVER () AS number, id, type, client_id, title, details::MAP(VARCHAR, VARCHAR) AS details, marker,
       last_modified
FROM (SELECT unnest(from_json($dump, '[{"id": "VARCHAR", "type": "VARCHAR", "client_id": "VARCHAR", "title": "VARCHAR",
      "details": "JSON", "marker": "VARCHAR", "last_modified": "VARCHAR"}]'), recursive := true))
"""


def quick_and_soak(quick: Iterable[Any], soak: Iterable[Any]) -> list[Any]:
    """Values of a test's one parameter: ``quick`` for every run of the suite, and all of ``soak`` for ``make soak``."""
    return [*quick, *(pytest.param(each, marks=pytest.mark.soak, id=f"soak {each}") for each in soak)]


@contextmanager
def kept_open(settings: Settings) -> Iterator[None]:
    """Keep the databases open in this process: opening them again and again takes half of the time of a small run.

    For runs in this process that no other has to meet; what is committed is durable all the same.
    """
    with ExitStack() as held:
        warehouse = held.enter_context(open_warehouse(settings).open())
        warehouse.execute("SET threads = 1")  # plenty for so few records, at less cost
        if settings.passportal_file.exists():
            held.enter_context(closing(connect(settings.passportal_file)))
        yield


@dataclass
class Home:
    """One user's home folder with a sandbox behind it.

    ``service``: the stand-in for Passportal's own API; None where the target is the embedded one. ``keeps_open``: see
    ``kept_open``; without it ``call`` opens and closes the databases as a process does.
    """

    folder: Path
    sandbox: Sandbox
    environment: dict[str, str] = field(default_factory=dict)
    service: SandboxPassportal | None = None
    keeps_open: bool = True
    has_lake: bool = lake.IS_WANTED

    def __post_init__(self) -> None:
        """Fill the embedded Passportal as the tenant has it; the stand-in for its API has filled itself."""
        self.folder.mkdir(parents=True, exist_ok=True)
        login = self.sandbox.login
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "BMS_URL": self.sandbox.url,
            "BMS_TENANT": login["tenant"],
            "BMS_USERNAME": login["username"],
            "BMS_PASSWORD": login["password"],
            "BMS_PIPELINE_HOME": str(self.folder),
            **LIMITS,
            **(self.service.environment() if self.service else {}),
            **(lake.new_lake(self.folder.with_name(f"{self.folder.name}_lake")) if self.has_lake else {}),
            **self.environment,
        }
        if self.service is None:
            fill_passportal(self.settings.passportal_file, self.sandbox.folder)

    @property
    def settings(self) -> Settings:
        """The settings that this home's processes read from their environment."""
        values = {name.lower(): value for name, value in self.environment.items() if name.startswith(_OURS)}
        return Settings(_env_file=None, **values)  # type: ignore[call-arg, arg-type]

    def run(
        self, *arguments: str, timeout: float = 240, wrapper: Sequence[str] = ("-m", "bms_pipeline.cli"), **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run ``bms-pipeline`` with these arguments in a process of its own."""
        return subprocess.run(
            [sys.executable, *wrapper, *arguments],
            env={**self.environment, **env},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def approve(self, plan_hash: str) -> None:
        """A person approves the current plan by its hash."""
        settings = self.settings
        with closing(services.open_target(settings)) as target:
            planning.approve(settings, open_warehouse(settings), target, plan_hash, "a person")

    def call(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run ``bms-pipeline`` with these arguments in this process: what it says and does is that of ``run``.

        For what is not about processes, of which starting one takes longer than most verbs; it never sleeps between
        two tries.
        """
        impatient = partial(BmsClient, sleep=lambda _: None)
        with (
            mock.patch.object(services, "BmsClient", impatient),
            kept_open(self.settings) if self.keeps_open else nullcontext(),
        ):
            return called(*arguments, environment={**self.environment, **env}, folder=self.folder)

    def status(self) -> dict[str, Any]:
        """What ``bms-pipeline status --json`` says."""
        shown: dict[str, Any] = json.loads(self.call("status", "--json").stdout)
        return shown

    def warehouse(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of the warehouse."""
        with open_warehouse(self.settings).read_only() as connection:
            return connection.execute(query).fetchall()

    def passportal(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of Passportal, whichever it is: of a table ``records`` as the embedded one has it."""
        if self.service is None:
            return _rows(self.settings.passportal_file, query)
        with duckdb.connect() as connection:
            connection.execute(_RECORDS, {"dump": json.dumps(self.service.records())})
            return connection.execute(query).fetchall()

    def settle(self) -> list[Path]:
        """A person imports in Passportal what was handed over since, and exports the users anew; the files."""
        if self.service is None:
            return []
        files = self.folder / "import_files"
        if self.settings.bms_pipeline_lake:  # there they are in PostgreSQL
            files = self.folder / "saved_files"
            saved = self.call("pending-imports", "--save", str(files))
            assert saved.returncode == 0, saved.stderr
        imported = import_new_files(self.service.url, files)
        self.service.export_users()
        return imported

    def state(self) -> dict[str, list[tuple[Any, ...]]]:
        """All that must be the same after any history that ends in the same place.

        Ids that Passportal gives are left out: they follow from the order of the calls.
        """
        client = "(SELECT title FROM records c WHERE c.type = 'client' AND c.id = r.client_id)"
        return {
            "passportal": self.passportal(f"SELECT type, {client}, title, details, marker FROM records r ORDER BY ALL"),
            "matches": self.warehouse("SELECT entity, bms_id, reason FROM sync.matches ORDER BY ALL"),
        }


def called(
    *arguments: str, environment: Mapping[str, str], folder: Path, answer: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run ``bms-pipeline`` in this process, in ``folder``, with nothing but ``environment``. ``answer``: its input."""
    output, errors = io.StringIO(), io.StringIO()
    umask = os.umask(0o077)  # as the command line does, for good
    try:
        with (
            mock.patch.dict(os.environ, environment, clear=True),
            mock.patch.object(sys, "argv", ["bms-pipeline", *arguments]),
            mock.patch.object(sys, "stdin", io.StringIO(answer)),
            chdir(folder),
            redirect_stdout(output),
            redirect_stderr(errors),
        ):
            code = _exit_code()
    finally:
        os.umask(umask)
    return subprocess.CompletedProcess(arguments, code, output.getvalue(), errors.getvalue())


def _exit_code() -> int:
    """Of the command line; an exception that it lets through is shown as the interpreter does it."""
    try:
        app.main()
    except SystemExit as end:
        return int(end.code or 0)
    except Exception:
        traceback.print_exc()
        return 1


def _rows(file: Path, query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(file), read_only=True) as connection:
        return connection.execute(query).fetchall()


@contextmanager
def running_home(
    folder: Path,
    size: Size = "small",
    seed: int = 1,
    behaviour: dict[str, Any] | None = None,
    *,
    target: Literal["embedded", "documents_api"] = "embedded",
    passportal: dict[str, Any] | None = None,
    environment: dict[str, str] | None = None,
) -> Iterator[Home]:
    """A home folder with a sandbox of its own behind it.

    ``passportal``: switches of the stand-in for Passportal's API; how it must be asked is also set for the pipeline.
    """
    with running_sandbox(size, seed, folder / "tenant", {"hourly_limit": None, **(behaviour or {})}) as sandbox:
        if target == "embedded":
            yield Home(folder / "home", sandbox, environment or {})
            return
        switches = passportal or {}
        asked = {
            f"PASSPORTAL_{name.upper()}": switches[name] for name in ("body", "values", "update") if name in switches
        }
        with running_passportal(folder / "passportal", sandbox.folder, switches) as service:
            yield Home(folder / "home", sandbox, {**asked, **(environment or {})}, service)


def in_another_namespace(mounted: bool = True) -> list[str]:
    """The beginning of a command that runs as in a container: with process numbers and mounts of its own."""
    return ["unshare", "--pid", "--mount", "--fork", "--kill-child", *(["--mount-proc"] if mounted else [])]


@cache
def why_no_other_namespace() -> str:
    """Why this machine does not allow ``in_another_namespace``; empty where it does."""
    if shutil.which("unshare") is None:
        return "there is no unshare here"
    tried = subprocess.run([*in_another_namespace(), "true"], capture_output=True, text=True, timeout=60, check=False)
    return tried.stderr.strip() if tried.returncode else ""
