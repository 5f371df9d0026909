"""`deploy/`: what can be checked without Docker. PostgreSQL is started where it is installed."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
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
from bms_pipeline_tests.postgres import VALUES, running_postgres, why_no_postgres

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
    """The port of a PostgreSQL on loopback."""
    if why := why_no_postgres():
        pytest.skip(why)
    with running_postgres() as port:
        yield port


@dg.asset
def some() -> None:
    """A Dagster asset like any other."""


def test_runs_and_events_are_kept_in_postgresql(postgres: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (DEPLOY / "dagster.postgres.yaml").read_text().replace("port: 5432", f"port: {postgres}")
    (tmp_path / "dagster.yaml").write_text(text)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    for name, value in zip(DAGSTER_PG, VALUES, strict=True):
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
    assert not [name for name in services if "pid" in services[name]], "the daemon needs to see no run's process"


@pytest.mark.parametrize("tenant", ["acme", "beta"])
def test_nothing_of_a_tenant_is_another_ones(tenant: str) -> None:
    service = COMPOSE["services"][f"code-{tenant}"]
    assert service["command"][service["command"].index("--location-name") + 1] == tenant
    assert service["environment"]["BMS_PIPELINE_NAME"] == tenant
    assert service["env_file"] == f"{tenant}.env"
    assert f"{tenant}:/var/lib/bms-pipeline" in service["volumes"]
    assert service["secrets"] == [{"source": f"{tenant}_BMS_PASSWORD", "target": "BMS_PASSWORD"}]
    assert COMPOSE["secrets"][f"{tenant}_BMS_PASSWORD"]["file"] == f"./secrets/{tenant}/BMS_PASSWORD"
    servers = loaded(DEPLOY / "compose" / "workspace.yaml")["load_from"]
    assert {"host": f"code-{tenant}", "port": 4000, "location_name": tenant} in [
        server["grpc_server"] for server in servers
    ]


def test_a_unit_names_its_tenant_as_its_location() -> None:
    unit = (DEPLOY / "systemd" / "bms-code@.service").read_text()
    assert "Environment=BMS_PIPELINE_NAME=%i\n" in unit
    assert "--location-name %i " in unit
