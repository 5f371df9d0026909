"""`bms-pipeline mapping` on the command line: show, export, try, import, check, with their exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bms_pipeline_tests.building import World, account, asset, in_passportal, opened_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A loaded client with two assets."""
    with opened_world(tmp_path_factory.mktemp("mapped") / "home") as found:
        found.accounts = [account(10, "Acme Ltd")]
        found.assets = [
            asset(1, 10, "PC-1", "SN-1001", categoryName="Laptop"),
            asset(2, 10, "PC-2", "SN-1002", categoryName="Server"),
        ]
        found.passportal_holds(clients=[in_passportal("P1", "ACME LTD")])
        found.plan()
        found.finish()
    return found


def run(world: World, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bms_pipeline.cli", "mapping", *arguments],
        env={**os.environ, "BMS_PIPELINE_HOME": str(world.settings.bms_pipeline_home), "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def test_a_mapping_is_exported_tried_stored_and_checked(world: World, tmp_path: Path) -> None:
    file = tmp_path / "mapping.toml"
    assert run(world, "export", str(file)).returncode == 0
    assert file.read_text() == "version = 1\n"
    file.write_text('[assets.fields]\ntype = { label = "Typ", words = { Laptop = "Rechner" }, other = "ask" }\n')

    tried = run(world, "import", str(file), "--dry-run", "--json")
    assert tried.returncode == 0, tried.stderr
    (change,) = json.loads(tried.stdout)["changes"]
    assert (change["entity"], change["label"], change["filled"], change["overwritten"]) == ("assets", "Typ", 1, 0)
    assert json.loads(run(world, "show", "--json").stdout) == {"hash": "", "mapping": {}}

    stored = run(world, "import", str(file), "--why", "our words")
    assert stored.returncode == 0, stored.stderr
    assert "The next plan waits for you" in stored.stdout
    assert "'Server' has no word (1 records)" in stored.stdout
    shown = run(world, "show").stdout
    assert "1 words, all others: ask" in shown
    checked = run(world, "check")
    assert (checked.returncode, "'Server' has no word" in checked.stdout) == (2, True)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[assets.fields\n", "is no TOML file"),
        ('[assets.fields]\nprimry_ip = "x"\n', "Did you mean 'primary_ip'?"),
        ("[assets.fields]\nserial_number = false\n", "--anyway"),
    ],
)
def test_a_file_with_a_mistake_is_refused_with_its_place_and_the_next_step(
    world: World, tmp_path: Path, text: str, says: str
) -> None:
    file = tmp_path / "mapping.toml"
    file.write_text(text)
    refused = run(world, "import", str(file))
    assert refused.returncode == 1
    assert says in refused.stderr
    missing = run(world, "import", str(tmp_path / "none.toml"))
    assert (missing.returncode, "cannot be read" in missing.stderr) == (1, True)


def test_a_key_of_bms_and_a_constant_are_stored_and_old_labels_are_blanked_only_with_yes(
    world: World, tmp_path: Path
) -> None:
    file = tmp_path / "mapping.toml"
    file.write_text('[assets.fields]\n"detail.locationInfo" = "Rack"\n[assets.constants]\nManagement = "Managed"\n')
    stored = run(world, "import", str(file))
    assert stored.returncode == 0, stored.stderr
    assert "assets.detail.locationInfo" in stored.stdout
    exported = tmp_path / "exported.toml"
    assert run(world, "export", str(exported)).returncode == 0
    assert '"detail.locationInfo" = "Rack"' in exported.read_text()

    assert "detail.barCode" in run(world, "keys", "assets").stdout
    file.write_text('[assets.fields]\ntype = "Typ"\n')
    assert run(world, "import", str(file)).returncode == 0
    for arguments, code in ((["--dry-run"], 0), ([], 2), (["--yes"], 0), (["--yes"], 1)):
        said = run(world, "clear-old", *arguments)
        assert said.returncode == code, said.stderr
    shown = json.loads(run(world, "show", "--json").stdout)["mapping"]
    assert shown["assets"]["cleared"] == {"Type": "type"}
