"""The workflow does what `.ci/run` does on each promised Python; `make sbom` lists what is locked; forms are whole."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
GITHUB = ROOT / ".github"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def loaded(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return found


WORKFLOW = loaded(GITHUB / "workflows" / "ci.yml")
STEPS = [step for job in WORKFLOW["jobs"].values() for step in job["steps"]]


def supported() -> list[str]:
    """The versions that ``make matrix`` tries."""
    script = ast.parse((ROOT / ".ci" / "matrix.py").read_text(encoding="utf-8"))
    (found,) = (
        ast.literal_eval(statement.value)
        for statement in script.body
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "SUPPORTED"
    )
    return [f"{major}.{minor}" for major, minor in found]


def test_the_gate_runs_on_each_python_that_the_package_promises() -> None:
    tried = WORKFLOW["jobs"]["gate"]["strategy"]["matrix"]["python"]
    promised = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert tried == promised == supported()
    assert "bash .ci/run" in [step.get("run") for step in WORKFLOW["jobs"]["gate"]["steps"]]


def test_one_job_runs_the_suite_on_the_newest_duckdb() -> None:
    commands = [step["run"] for step in WORKFLOW["jobs"]["newest-duckdb"]["steps"] if "run" in step]
    upgrade = next(place for place, command in enumerate(commands) if "--upgrade duckdb" in command)
    assert commands[upgrade + 1 :] == ["make test"]


def test_each_make_target_and_file_that_the_workflow_names_exists() -> None:
    commands = " ".join(step.get("run", "") for step in STEPS)
    for target in re.findall(r"\bmake (\S+)", commands):
        asked = subprocess.run(
            ["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )
        assert asked.returncode == 0, asked.stderr
    for file in re.findall(r"\.ci/\w+(?:\.py)?", commands):
        assert (ROOT / file).is_file()


def test_the_workflow_may_only_read_and_names_no_index() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    for file in GITHUB.rglob("*.yml"):
        assert "://" not in file.read_text(encoding="utf-8"), file
    for step in STEPS:
        assert "uses" not in step or re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"])


@pytest.mark.parametrize("file", sorted((GITHUB / "ISSUE_TEMPLATE").glob("[!c]*.yml")), ids=lambda file: file.name)
def test_an_issue_form_asks_by_fields_with_labels(file: Path) -> None:
    form = loaded(file)
    assert form["name"]
    assert form["description"]
    ids = [field["id"] for field in form["body"] if field["type"] != "markdown"]
    assert len(ids) == len(set(ids)) > 0
    assert all(field["attributes"].get("label") for field in form["body"] if field["type"] != "markdown")


def test_the_bill_of_materials_lists_every_locked_package_with_its_hashes(tmp_path: Path) -> None:
    bill = tmp_path / "sbom.json"
    shown = subprocess.run(
        ["make", "--dry-run", "sbom", f"SBOM={bill}"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    (command,) = (line for line in shown.stdout.splitlines() if "cyclonedx-py" in line)
    made = subprocess.run(shlex.split(command), cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert made.returncode == 0, made.stderr
    found = json.loads(bill.read_text(encoding="utf-8"))
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    locked = {canonicalize_name(name): version for name, version in re.findall(r"^([\w.-]+)==([^\s;\\]+)", lock, re.M)}
    assert len(locked) > 50
    assert {canonicalize_name(part["name"]): part["version"] for part in found["components"]} == locked
    assert all(part["externalReferences"][0]["hashes"] for part in found["components"])
    main = found["metadata"]["component"]
    assert (canonicalize_name(main["name"]), main["version"]) == (
        canonicalize_name(PROJECT["name"]),
        PROJECT["version"],
    )
