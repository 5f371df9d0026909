"""`deploy/`: what can be checked without Docker. PostgreSQL is started where it is installed."""

from __future__ import annotations

import os
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


def why_no_image() -> str:
    """Why ``try_image.sh`` cannot build the image here; empty where it can."""
    missing = [name for name in ("buildah", "debootstrap", "unshare", "ip") if shutil.which(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else "" if os.geteuid() == 0 else "only root can"


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
    assert [line for line in lines if line.startswith("FROM")] == ["FROM ${BASE} AS build", "FROM ${BASE}"]
    assert any(re.fullmatch(r"ARG BASE=python:\d+\.\d+\.\d+-slim-bookworm", line) for line in lines)
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
    lock = "".join((DEPLOY / f"requirements-{name}.lock").read_text() for name in ("postgres", "k8s"))
    version = re.search(r"^dagster==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert version is not None
    minor, patch = version[1].split(".")[1:]
    for library in ("dagster-postgres", "dagster-k8s"):
        assert f"{library}==0.{int(minor) + 16}.{patch}" in lock


def test_compose_takes_its_file() -> None:
    """By the published schema of Compose, which comes with check-jsonschema."""
    check = Path(sys.executable).with_name("check-jsonschema")
    command = [str(check), "--builtin-schema", "vendor.compose-spec", str(DEPLOY / "compose" / "compose.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.soak
@pytest.mark.timeout(2400)
@pytest.mark.skipif(why_no_image() != "", reason=why_no_image())
def test_the_image_works_as_nobody_on_a_read_only_root_without_a_network(tmp_path: Path) -> None:
    done = subprocess.run(
        [DEPLOY / "try_image.sh", tmp_path], capture_output=True, text=True, timeout=2300, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "All of it worked." in done.stdout


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


# --------------------------------------------------------------------------------------------------------- Kubernetes

CHART_KEYS = {
    "": "additionalInstanceConfig concurrency dagster-user-deployments dagsterDaemon dagsterWebserver"
    " generatePostgresqlPasswordSecret global postgresql runLauncher telemetry",
    "global": "dagsterHome postgresqlSecretName",
    "postgresql": "enabled postgresqlHost postgresqlUsername postgresqlDatabase",
    "telemetry": "enabled",
    "dagster-user-deployments": "enabled deployments",
    "runLauncher": "type config",
    "runLauncher.config": "k8sRunLauncher",
    "runLauncher.config.k8sRunLauncher": "imagePullPolicy securityContext runK8sConfig",
    "runLauncher.config.k8sRunLauncher.runK8sConfig": "podSpecConfig",
    "dagsterDaemon": "image podSecurityContext securityContext runMonitoring runRetries",
    "dagsterDaemon.runMonitoring": "enabled pollIntervalSeconds startTimeoutSeconds maxResumeRunAttempts"
    " freeSlotsAfterRunEndSeconds",
    "dagsterDaemon.runRetries": "enabled",
    "dagsterWebserver": "image podSecurityContext securityContext",
    "concurrency": "enabled pools runs",
    "concurrency.pools": "defaultLimit granularity",
    "concurrency.runs": "maxConcurrentRuns",
}
"""The keys of the chart's published schema (Dagster 1.13) that we use, by the path of what holds them."""
DEPLOYMENT_KEYS = (
    "affinity dagsterApiGrpcArgs env envConfigMaps image includeConfigInLaunchedRuns labels name podSecurityContext"
    " port resources securityContext volumeMounts volumes"
)
HELM: dict[str, Any] = loaded(DEPLOY / "helm" / "values.yaml")
TENANTS: list[dict[str, Any]] = HELM["dagster-user-deployments"]["deployments"]


@pytest.mark.parametrize("path", CHART_KEYS)
def test_the_chart_has_each_key_of_the_values(path: str) -> None:
    found = HELM
    for name in filter(None, path.split(".")):
        found = found[name]
    assert {*found} == {*CHART_KEYS[path].split()}


@pytest.mark.parametrize("tenant", TENANTS, ids=lambda tenant: str(tenant["name"]))
def test_a_pod_has_what_is_its_tenants_and_nothing_of_another(tenant: dict[str, Any]) -> None:
    name = tenant["name"]
    assert sorted(tenant) == DEPLOYMENT_KEYS.split()
    assert tenant["dagsterApiGrpcArgs"] == ["--module-name", "bms_pipeline.definitions", "--location-name", name]
    assert tenant["includeConfigInLaunchedRuns"] == {"enabled": True}, "a run needs the volume and the secrets"
    environment = {entry["name"]: entry["value"] for entry in tenant["env"]}
    assert environment["BMS_PIPELINE_NAME"] == name
    assert all(is_known(variable) for variable in environment)
    volumes = {volume["name"]: volume for volume in tenant["volumes"]}
    assert volumes["home"]["persistentVolumeClaim"] == {"claimName": f"bms-pipeline-{name}"}
    assert volumes["secrets"]["secret"] == {"secretName": f"bms-pipeline-{name}"}
    assert tenant["envConfigMaps"] == [{"name": f"bms-pipeline-{name}"}]
    mounts = {mount["name"]: mount["mountPath"] for mount in tenant["volumeMounts"]}
    assert {*mounts} == {*volumes}
    assert mounts["home"] == environment["BMS_PIPELINE_HOME"]
    assert mounts["secrets"] == environment["BMS_PIPELINE_SECRETS"]
    assert mounts["dagster"] == HELM["global"]["dagsterHome"], "the root is read-only"
    (term,) = tenant["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["labelSelector"]["matchLabels"] == {"component": "user-deployments", **tenant["labels"]}


def test_a_run_goes_to_the_node_of_its_tenant() -> None:
    config = HELM["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]["podSpecConfig"]
    (term,) = config["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert all(term["matchLabelKeys"] == [*tenant["labels"]] for tenant in TENANTS)


def test_dagster_takes_what_the_chart_has_no_keys_for() -> None:
    shipped = loaded(ROOT / "dagster.yaml")
    assert HELM["additionalInstanceConfig"] == {name: shipped[name] for name in ("run_retries", "freshness")}
    assert HELM["concurrency"]["runs"]["maxConcurrentRuns"] == shipped["concurrency"]["runs"]["max_concurrent_runs"]
