"""The references in ``docs/reference`` say what the code says, and the same on every machine."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from pydantic_settings import BaseSettings

from bms_pipeline.core.settings import ScheduleSettings, Settings
from bms_pipeline.reconcile.sync_settings import SyncSettings, shown_setting

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "docs" / "references.py"
PAGES = ("commands.md", "reasons.md", "settings.md")
UNDESCRIBED = {
    "BMS_PASSWORD",
    "BMS_USERNAME",
    "NOTICE_EMAIL_FROM",
    "NOTICE_SMTP_HOST",
    "NOTICE_SMTP_PASSWORD",
    "NOTICE_SMTP_PORT",
    "PASSPORTAL_TARGET",
}
"""Settings whose field has no description. Take a name out when it gets one; add none."""


@pytest.fixture(scope="module")
def program() -> ModuleType:
    """``docs/references.py``, which is in no package."""
    spec = importlib.util.spec_from_file_location("references", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_references_are_those_that_the_code_makes(program: ModuleType) -> None:
    made = program.references()
    stored = {file.name: file.read_text(encoding="utf-8") for file in program.FOLDER.iterdir()}
    assert tuple(sorted(made)) == PAGES
    outdated = sorted(name for name in made.keys() | stored if made.get(name) != stored.get(name))
    assert outdated == [], f"docs/reference is not what the code says. Renew it: {program.RENEW}"


def test_another_machine_makes_the_same_pages(program: ModuleType, tmp_path: Path) -> None:
    """Another folder, home, width of the terminal and settings, without colours."""
    elsewhere = {
        "HOME": str(tmp_path),
        "USER": "somebody",
        "COLUMNS": "40",
        "TERM": "dumb",
        "BMS_URL": "https://bms.example",
        "BMS_PIPELINE_HOME": str(tmp_path / "home"),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, str(PROGRAM), str(tmp_path / "made")]
    ran = subprocess.run(
        command, env={**os.environ, **elsewhere}, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stderr
    made = {name: (tmp_path / "made" / name).read_text(encoding="utf-8") for name in PAGES}
    assert made == program.references()
    assert [name for name, text in made.items() if str(ROOT) in text or str(tmp_path) in text] == []


@pytest.mark.parametrize("kind", [Settings, ScheduleSettings])
def test_every_setting_says_what_it_is_for(kind: type[BaseSettings]) -> None:
    without = {name.upper() for name, field in kind.model_fields.items() if not field.description}
    expected = UNDESCRIBED & {name.upper() for name in kind.model_fields}
    assert without == expected, "Describe the setting where it is declared; UNDESCRIBED may only get shorter"


def test_what_each_sync_setting_does_is_written_down() -> None:
    text = (ROOT / "docs" / "deciding.md").read_text(encoding="utf-8")
    missing = [
        name
        for name in shown_setting(SyncSettings())
        if f"`{name}`" not in text and f"`{name.partition('.')[0]}.ENTITY`" not in text
    ]
    assert missing == [], "docs/deciding.md has a table of the sync settings"
