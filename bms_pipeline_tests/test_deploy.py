"""`deploy/`: what can be checked without Docker. PostgreSQL is started where it is installed."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.instance.config import dagster_instance_config
from typer.main import get_command

from bms_pipeline.cli import app
from bms_pipeline.core.settings import is_known

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
DAGSTER_PG = ("DAGSTER_PG_HOST", "DAGSTER_PG_DB", "DAGSTER_PG_USERNAME", "DAGSTER_PG_PASSWORD")


def loaded(file: Path) -> Any:
    return yaml.safe_load(file.read_text(encoding="utf-8"))


COMPOSE: dict[str, Any] = loaded(DEPLOY / "compose" / "compose.yaml")


def commands() -> Iterator[tuple[str, list[str]]]:
    """Each command of ours or of Dagster's that a unit or a service starts."""
    for unit in UNITS:
        line = next(line for line in unit.read_text().splitlines() if line.startswith("ExecStart="))
        program, *arguments = shlex.split(line.removeprefix("ExecStart="))
        yield unit.name, [Path(program).name, *arguments]
    for name, service in COMPOSE["services"].items():
        for key, command in (
            ("command", service.get("command")),
            ("healthcheck", service.get("healthcheck", {}).get("test")),
        ):
            found = command[1:] if command and key == "healthcheck" else command
            if found and found[0] in ("dagster", "dagster-daemon", "bms-pipeline"):
                yield f"{name}: {key}", found


@pytest.mark.parametrize("file", sorted(DEPLOY.rglob("*.yaml")), ids=lambda file: file.name)
def test_each_file_is_yaml(file: Path) -> None:
    assert isinstance(loaded(file), dict)


# ----------------------------------------------------------------------------------------------- dagster.postgres.yaml


def test_it_is_the_shipped_one_but_for_the_storage() -> None:
    ours, shipped = loaded(DEPLOY / "dagster.postgres.yaml"), loaded(ROOT / "dagster.yaml")
    assert {*ours} - {*shipped} == {"storage"}
    assert {*shipped} - {*ours} == {"event_log_storage"}, "Dagster takes one of both"
    assert {name: ours[name] for name in shipped if name in ours} == {
        name: value for name, value in shipped.items() if name != "event_log_storage"
    }


def test_dagster_takes_its_configuration(tmp_path: Path) -> None:
    shutil.copyfile(DEPLOY / "dagster.postgres.yaml", tmp_path / "dagster.yaml")
    config, _ = dagster_instance_config(str(tmp_path))
    assert config["storage"]["postgres"]["postgres_db"]["password"] == {"env": "DAGSTER_PG_PASSWORD"}


@pytest.fixture
def postgres() -> Iterator[int]:
    """The port of a PostgreSQL on loopback with an empty database `dagster`; root starts it as the user postgres."""
    pytest.importorskip("dagster_postgres")
    found = shutil.which("initdb") or next(iter(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb"))), None)
    if found is None:
        pytest.skip("PostgreSQL is not installed")
    programs, folder = Path(found).resolve().parent, Path(tempfile.mkdtemp())
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


@dg.asset
def some() -> None:
    """A Dagster asset like any other."""


def test_runs_and_events_are_kept_in_postgresql(postgres: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (DEPLOY / "dagster.postgres.yaml").read_text().replace("port: 5432", f"port: {postgres}")
    (tmp_path / "dagster.yaml").write_text(text)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    for name, value in zip(DAGSTER_PG, ("127.0.0.1", "dagster", "dagster", "pass/word"), strict=True):
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.get() as instance:
        run = dg.materialize([some], instance=instance).run_id
    with dg.DagsterInstance.get() as again:
        assert again.get_run_stats(run).steps_succeeded == 1
        assert again.get_latest_materialization_event(dg.AssetKey("some")) is not None
        assert type(again.event_log_storage).__module__.startswith("dagster_postgres.")
    assert not list(tmp_path.rglob("*.db"))


# ------------------------------------------------------------------------------------------------- what they start


@pytest.mark.parametrize(("where", "command"), commands(), ids=lambda value: value if isinstance(value, str) else "")
def test_each_command_has_the_options_that_it_is_given(where: str, command: list[str]) -> None:
    program, *arguments = command
    options = [part for part in arguments if part.startswith("--")]
    assert options, where
    if program == "bms-pipeline":
        verb = get_command(app.app).commands[arguments[0]]  # type: ignore[attr-defined]
        known = {name for parameter in verb.params for name in parameter.opts}
    else:
        words = arguments[: next(number for number, part in enumerate(arguments) if part.startswith("-"))]
        shown = subprocess.run(
            [Path(sys.executable).with_name(program), *words, "--help"],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        known = {*re.findall(r"--[a-z-]+", shown.stdout)}
    assert {*options} - known == set()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    files = []
    for unit in UNITS:
        file = tmp_path / unit.name.replace("@", "@acme")
        file.write_text(unit.read_text().replace("/opt/bms-pipeline/bin/", f"{Path(sys.executable).parent}/"))
        files.append(file)
    done = subprocess.run(
        ["systemd-analyze", "verify", *files], capture_output=True, text=True, timeout=120, check=False
    )
    ours = [line for line in done.stderr.splitlines() if any(file.name in line for file in files)]
    assert (ours, len(files)) == ([], 4)


def test_every_variable_is_one_that_somebody_reads() -> None:
    named = {
        name
        for file in [*UNITS, DEPLOY / "systemd" / "dagster.env", DEPLOY / "compose" / "acme.env.example"]
        for name in re.findall(r"^(?:Environment=)?([A-Z][A-Z_]+)=", file.read_text(), re.MULTILINE)
    } | {name for service in COMPOSE["services"].values() for name in service.get("environment", {})}
    others = {*DAGSTER_PG, "POSTGRES_DB", "POSTGRES_USER", "POSTGRES_PASSWORD", "PROXY_USER", "PROXY_PASSWORD_HASH"}
    assert "BMS_PIPELINE_GUARD" in named
    assert [name for name in sorted(named - others) if not is_known(name)] == []


# --------------------------------------------------------------------------------------------------------- containers


def test_the_image_is_pinned_and_nobodys_root() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    assert all(re.search(r":\d+\.\d+\.\d+-", line) for line in lines if line.startswith("FROM"))
    assert "USER 10001:10001" in lines
    assert all("--require-hashes" in line or "--no-deps" in line for line in lines if "pip install" in line)
    for service in COMPOSE["services"].values():
        assert re.search(r":\d+\.\d+", service["image"]), service["image"]


def test_what_the_image_copies_is_let_in_and_no_secret_is() -> None:
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        source
        for line in (DEPLOY / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    }
    assert copied == let_in
    assert all((ROOT / name).exists() for name in let_in)
    assert not [name for name in let_in if name.startswith(".")]


def test_the_locks_of_the_image_fit_the_dagster_of_the_package() -> None:
    """Dagster's libraries are released together: 1.13.27 with 0.29.27."""
    lock = (DEPLOY / "requirements-postgres.lock").read_text()
    version = re.search(r"^dagster==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert version is not None
    minor, patch = version[1].split(".")[1:]
    assert f"dagster-postgres==0.{int(minor) + 16}.{patch}" in lock


def test_only_the_proxy_can_be_reached_and_only_from_this_machine() -> None:
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", [])]
    assert ports == ["127.0.0.1:8080:8080"]
    services = COMPOSE["services"]
    assert services["proxy"]["network_mode"] == "service:web"
    assert "--host" not in services["web"]["command"], "it listens on 127.0.0.1 of the network that the proxy shares"
    for name in ("code-acme", "daemon", "web"):
        assert services[name]["read_only"]
        assert services[name]["cap_drop"] == ["ALL"]
    assert services["daemon"]["pid"] == "service:code-acme", "run monitoring has to see the runs' processes"
