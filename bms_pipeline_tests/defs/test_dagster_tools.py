"""Dagster's own tools find the definitions: in the checkout, in a folder of ``init``, in a project of Dagster."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bms_pipeline.sync.new_folder import make_new_folder
from bms_pipeline_tests.defs.test_component import declare, home_of, project

ROOT = Path(__file__).parents[2]
DG = Path(sys.executable).with_name("dg")
__all__ = ["project"]


def run(folder: Path, *command: str | Path) -> str:
    """Run a tool in ``folder`` as a person does who has set nothing; what it said."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": f"{ROOT}:{folder}"}
    if folder == ROOT:  # its file of settings, if there is one, is a developer's own
        environment |= {"BMS_PIPELINE_HOME": str(ROOT / ".bms_pipeline")}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout + done.stderr


@pytest.mark.parametrize("where", ["checkout", "folder of init"])
def test_the_definitions_are_valid(where: str, tmp_path: Path) -> None:
    folder = ROOT if where == "checkout" else make_new_folder(tmp_path).folder
    said = run(folder, sys.executable, "-m", "dagster", "definitions", "validate")
    assert "Validation successful for code location bms_pipeline." in said


@pytest.mark.skipif(not DG.exists(), reason="dagster-dg-cli is not installed")
@pytest.mark.parametrize("where", ["checkout", "project"])
def test_dg_checks_and_lists_them(where: str, project: Path) -> None:
    folder, key = (ROOT, "sync_plan") if where == "checkout" else (project, "acme/sync_plan")
    if folder == project:
        declare(project, "acme", home_of(project, "acme"))
        (project / "tenants" / "definitions.py").write_text(
            "from pathlib import Path\nimport dagster as dg\n\n@dg.definitions\ndef defs():\n"
            "    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)\n"
        )
    assert "All definitions loaded successfully." in run(folder, DG, "check", "defs")
    assert f'"{key}"' in run(folder, DG, "list", "defs", "--json")
