"""A tenant declared in ``defs.yaml``: the same as by its settings, alone in its code location, without secrets."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bms_pipeline_tests.defs.naming import names_of

Declare = Callable[..., None]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of Dagster as `create-dagster project` makes it."""
    (tmp_path / "pyproject.toml").write_text(
        '[tool.dg]\ndirectory_type = "project"\n[tool.dg.project]\nroot_module = "tenants"\n'
    )
    for folder in (tmp_path / "tenants", tmp_path / "tenants" / "defs"):
        folder.mkdir()
        (folder / "__init__.py").touch()
    return tmp_path


def declare(project: Path, called: str, settings: str | None = None, **attributes: str) -> None:
    """Declare a tenant with this text in its file of settings; without one, the file is not there."""
    folder = project / "tenants" / "defs" / called
    folder.mkdir()
    written = {"name": called, "env_file": f"../../../{called}.env", **attributes}
    lines = [f"  {attribute}: {value}" for attribute, value in written.items()]
    kind = "type: bms_pipeline.defs.component.BmsToPassportal"
    (folder / "defs.yaml").write_text("\n".join([kind, "attributes:", *lines, ""]))
    if settings is not None:
        env_file = project / f"{called}.env"
        env_file.write_text(settings)
        env_file.chmod(0o600)


def home_of(project: Path, name: str) -> str:
    return f"BMS_PIPELINE_HOME={project / name}\n"


def refusal(project: Path, **exported: str) -> str:
    loaded = names_of("", project, project / "tenants", **exported)
    assert loaded.returncode != 0
    return loaded.stderr


def names(project: Path, **exported: str) -> dict[str, Any]:
    loaded = names_of("", project, project / "tenants", **exported)
    assert loaded.returncode == 0, loaded.stderr[-2000:]
    return dict(json.loads(loaded.stdout))


def test_a_declared_tenant_has_the_names_of_one_that_is_set(project: Path, tmp_path: Path) -> None:
    declare(project, "acme", home_of(project, "acme"))
    assert names(project) == json.loads(names_of("acme", tmp_path).stdout)


def test_two_tenants_in_one_code_location_are_refused(project: Path) -> None:
    declare(project, "acme", home_of(project, "acme"))
    declare(project, "beta", home_of(project, "beta"))
    error = refusal(project)
    assert "This code location already holds the tenant acme, so it cannot hold beta, too." in error
    assert "Give beta a code location of its own" in error


def test_a_setting_that_would_count_for_every_tenant_is_refused(project: Path) -> None:
    declare(project, "acme", home_of(project, "acme") + "BMS_TENANT=acme\n")
    names(project, BMS_TENANT="acme")
    error = refusal(project, BMS_TENANT="beta")
    assert "BMS_TENANT is set in the environment and, to another value, in " in error
    assert "acme.env, line 2" in error


@pytest.mark.parametrize("exported", [{}, {"BMS_PIPELINE_HOME": "/somewhere"}])
def test_a_tenant_without_a_home_of_its_own_is_refused(project: Path, exported: dict[str, str]) -> None:
    declare(project, "acme", "BMS_TENANT=acme\n")
    assert "does not set BMS_PIPELINE_HOME. Two tenants must never share a home folder." in refusal(project, **exported)


def test_a_file_that_is_not_there_is_refused(project: Path) -> None:
    declare(project, "acme")
    assert "The settings of acme are not there" in refusal(project)


def test_a_secret_in_the_declaration_is_refused_and_not_repeated(project: Path) -> None:
    declare(project, "acme", home_of(project, "acme"), bms_password="canary-51d0")
    error = refusal(project)
    assert "bms_password" in error
    assert "canary-51d0" not in error


@pytest.mark.parametrize("name", ["a-b", "''"])
def test_a_name_that_dagster_does_not_take_is_refused(project: Path, name: str) -> None:
    declare(project, "acme", home_of(project, "acme"), name=name)
    assert "attributes.name" in (error := refusal(project)) or "BMS_PIPELINE_NAME" in error


def test_a_folder_of_secrets_is_read_below_the_declaration(project: Path) -> None:
    (project / "secrets").mkdir()
    (project / "secrets" / "BMS_PIPELINE_OWNER").write_text("team:acme")
    declare(project, "acme", home_of(project, "acme"), secrets="../../../secrets")
    names(project)
    (project / "secrets" / "BMS_PIPELINE_OWNER").write_text("nobody")
    assert "BMS_PIPELINE_OWNER" in refusal(project)
