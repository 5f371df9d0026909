"""Dagster's own tools find the definitions: in the checkout, in a folder of ``init``, in a project of Dagster."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import requests

from bms_pipeline.guard.serving import listen
from bms_pipeline.sync.new_folder import make_new_folder
from bms_pipeline_tests.defs.test_component import declare, home_of, project
from bms_pipeline_tests.end_to_end.test_dagster_killed import until

ROOT = Path(__file__).parents[2]
DG = Path(sys.executable).with_name("dg")
__all__ = ["project"]


def environment_in(folder: Path) -> dict[str, str]:
    """The environment of a person who has set nothing."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": f"{ROOT}:{folder}"}
    if folder == ROOT:  # its file of settings, if there is one, is a developer's own
        environment |= {"BMS_PIPELINE_HOME": str(ROOT / ".bms_pipeline")}
    return environment


def run(folder: Path, *command: str | Path) -> str:
    """Run a tool in ``folder``; what it said."""
    done = subprocess.run(
        command, cwd=folder, env=environment_in(folder), capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout + done.stderr


@pytest.mark.parametrize("where", ["checkout", "folder of init"])
def test_the_definitions_are_valid(where: str, tmp_path: Path) -> None:
    folder = ROOT if where == "checkout" else make_new_folder(tmp_path).folder
    said = run(folder, sys.executable, "-m", "dagster", "definitions", "validate")
    assert "Validation successful for code location bms_pipeline." in said


@pytest.mark.parametrize("where", ["checkout", "folder of init", "project"])
def test_dg_checks_and_lists_them(where: str, project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder, key = (project, "acme/sync_plan") if where == "project" else (ROOT, "sync_plan")
    if where == "folder of init":
        folder = make_new_folder(tmp_path_factory.mktemp("folder")).folder
    if folder == project:
        declare(project, "acme", home_of(project, "acme"))
        (project / "tenants" / "definitions.py").write_text(
            "from pathlib import Path\nimport dagster as dg\n\n@dg.definitions\ndef defs():\n"
            "    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)\n"
        )
    assert "All definitions loaded successfully." in run(folder, DG, "check", "defs")
    assert f'"{key}"' in run(folder, DG, "list", "defs", "--json")


@pytest.mark.parametrize("where", ["checkout", "folder of init"])
def test_dg_dev_serves_them(where: str, tmp_path: Path) -> None:
    folder = ROOT if where == "checkout" else make_new_folder(tmp_path / "folder").folder
    with listen(0) as free:
        port = free.getsockname()[1]
    dagster_home = tmp_path / "dagster"  # not the developer's own, in the checkout
    dagster_home.mkdir()
    (dagster_home / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    environment = environment_in(folder) | {"BMS_PIPELINE_HOME": str(tmp_path / "home")}
    environment |= {"DAGSTER_HOME": str(dagster_home)}
    log = tmp_path / "log"
    with log.open("wb") as file:
        served = subprocess.Popen(
            [DG, "dev", "--port", str(port)],
            cwd=folder, env=environment, stdout=file, stderr=file, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    try:
        until(lambda: locations(port) == {"bms_pipeline": "LOADED"}, "the pages show the definitions", 200)
    finally:
        everything = [psutil.Process(served.pid), *psutil.Process(served.pid).children(recursive=True)]
        for process in everything:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        served.wait(30)


def locations(port: int) -> dict[str, str]:
    """Each code location that Dagster's pages have, and whether it is loaded; none while they do not answer."""
    query = "{ workspaceOrError { ... on Workspace { locationEntries { name loadStatus } } } }"
    with suppress(requests.RequestException):
        answer = requests.post(f"http://127.0.0.1:{port}/graphql", json={"query": query}, timeout=30).json()
        return {entry["name"]: entry["loadStatus"] for entry in answer["data"]["workspaceOrError"]["locationEntries"]}
    return {}
