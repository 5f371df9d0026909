"""How `make` installs: by uv where it can, else by pip, from the same locks. uv and pip are shell scripts here."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from bms_pipeline_tests import chromium
from bms_pipeline_tests.chromium import NoBrowser, find_chromium

ROOT = Path(__file__).parents[1]
LOCKS = sorted(ROOT.glob("requirements*.lock"))


def module(name: str) -> ModuleType:
    """A script of ``.ci`` as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


install = module("install")
tools = module("tools")


def program(file: Path, script: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return file


class Machine:
    """An empty environment whose pip is a script, and a folder that is all of PATH but for the system's tools."""

    def __init__(self, folder: Path) -> None:
        self.bin, self.log, self.environment = folder / "bin", folder / "log", folder / "venv"
        self.bin.mkdir()
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", self.environment], check=True, timeout=120)
        self.python = self.environment / "bin" / "python"
        self.packages = next((self.environment / "lib").glob("python*/site-packages"))

    def uv(self, *, installs: int = 0) -> None:
        """There is a uv on PATH whose installs end with this code."""
        program(self.bin / "uv", self._script("uv", installs))

    def pip(self, *, installs_uv: bool = False, installs: int = 0) -> None:
        """There is a pip whose installs end with this code; that of uv fails, or brings one that works."""
        uv = program(self.bin / "uv_for_later", self._script("own-uv", 0))
        own = self.environment / "bin" / "uv"
        asked_for_uv = f"cp {uv} {own}; exit 0" if installs_uv else "exit 1"
        steps = [
            f'case "$*" in *requirements-uv.lock*) {asked_for_uv};; esac',
            """[ "$1" = config ] && { echo "global.index-url='index.of.pip'"; exit 0; }""",
            self._script("pip", installs),
        ]
        script = program(self.bin / "pip_script", "\n".join(steps))
        module = f"import os, sys\nos.execv({str(script)!r}, [{str(script)!r}, *sys.argv[1:]])\n"
        (self.packages / "pip.py").write_text(module)

    def _script(self, name: str, installs: int) -> str:
        keep = f'case "$*" in *install*) echo "{name} $* [$UV_DEFAULT_INDEX]" >> {self.log}; exit {installs};; esac'
        return f'{keep}\n[ "$1" = check ] || [ "$1" = --version ] || [ "$2" = check ] || exit 1'

    def install(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.python), str(ROOT / ".ci" / "install.py"), *arguments]
        plain = {"PATH": f"{self.bin}:/bin", **environment}
        return subprocess.run(command, env=plain, capture_output=True, text=True, timeout=120, check=False)

    @property
    def installed(self) -> list[str]:
        """What was installed by what, in order, and from which index."""
        return self.log.read_text().splitlines() if self.log.exists() else []


LOCKED = "install --quiet --require-hashes --no-deps --requirement a.lock"
EDITABLE = "install --quiet --no-deps --no-build-isolation --editable ."


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_uv_on_the_path_installs_what_is_locked_from_the_index_of_pip(machine: Machine) -> None:
    machine.uv()
    machine.pip()
    assert machine.install("a.lock", "--editable").returncode == 0
    assert machine.installed == [f"uv pip {LOCKED} [index.of.pip]", f"uv pip {EDITABLE} [index.of.pip]"]


def test_what_uv_is_configured_with_stands(machine: Machine) -> None:
    machine.uv()
    machine.pip()
    machine.install("a.lock", UV_DEFAULT_INDEX="index.of.uv")
    assert machine.installed == [f"uv pip {LOCKED} [index.of.uv]"]


def test_without_uv_pip_installs_it_into_the_environment(machine: Machine) -> None:
    machine.pip(installs_uv=True)
    assert machine.install("a.lock").returncode == 0
    assert machine.installed == [f"own-uv pip {LOCKED} [index.of.pip]"]


def test_where_uv_cannot_be_installed_pip_does_it_all(machine: Machine) -> None:
    machine.pip()
    result = machine.install("a.lock", "--editable")
    assert result.returncode == 0, result.stderr
    assert machine.installed == [f"pip {LOCKED} []", f"pip {EDITABLE} []"]
    assert "pip does it" in result.stderr


def test_where_uv_fails_pip_does_it_all(machine: Machine) -> None:
    machine.uv(installs=2)
    machine.pip()
    assert machine.install("a.lock").returncode == 0
    assert machine.installed == [f"uv pip {LOCKED} [index.of.pip]", f"pip {LOCKED} []"]


def test_where_both_fail_nothing_counts_as_installed(machine: Machine) -> None:
    machine.uv(installs=2)
    machine.pip(installs=1)
    assert machine.install("a.lock").returncode == 1


def test_pips_words_become_uvs() -> None:
    found = install.uv_environment(
        {"PIP_FIND_LINKS": "a b", "HOME": "h"}, {"index-url": "i", "extra-index-url": "j\nk", "find-links": "other"}
    )
    assert found == {
        "HOME": "h",
        "PIP_FIND_LINKS": "a b",
        "UV_DEFAULT_INDEX": "i",
        "UV_INDEX": "j k",
        "UV_FIND_LINKS": "a,b",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }, "the environment goes before pip's files"


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_package_of_a_lock_has_hashes_and_no_address(lock: Path) -> None:
    text = lock.read_text()
    packages = re.findall(r"^[\w.-]+==[^\n]*(?:\n    --hash=sha256:[0-9a-f]{64}[ \\]*)*", text, re.MULTILINE)
    assert packages
    assert [package for package in packages if "--hash" not in package] == []
    assert "://" not in text


def test_one_lock_serves_every_system() -> None:
    text = (ROOT / "requirements.lock").read_text()
    assert re.search(r"^colorama==\S+ ; sys_platform == 'win32'", text, re.MULTILINE)
    assert re.search(r"^uvloop==\S+ ;.* sys_platform != 'win32'", text, re.MULTILINE)
    assert re.search(r"^duckdb==1\.5\.5 ", text, re.MULTILINE)


def test_what_only_tests_need_is_in_the_lock_of_the_tests_alone() -> None:
    def names(lock: str) -> dict[str, str]:
        return dict(re.findall(r"^([\w.-]+)==([^\s]+)", (ROOT / lock).read_text(), re.MULTILINE))

    runs, tests = names("requirements.lock"), names("requirements-test.lock")
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["test"]
    only_tests = {re.split(r"[=<>\[]", name)[0] for name in declared} - {"dagster-graphql"}
    assert only_tests <= tests.keys()
    assert only_tests & runs.keys() == set()
    assert {name: version for name, version in tests.items() if runs.get(name, version) != version} == {}


class Missing(Exception):
    """Something is missing."""


def test_ways_to_install_are_tried_until_one_helps(tmp_path: Path) -> None:
    def find() -> None:
        if not (tmp_path / "second").exists():
            raise Missing

    ways = [["sh", "-c", f"touch {tmp_path / name}"] for name in ("first", "second", "third")]
    tools.install_until(find, Missing, ways)
    assert {file.name for file in tmp_path.iterdir()} == {"first", "second"}


def test_what_cannot_be_installed_is_said_and_the_tests_still_run(capsys: pytest.CaptureFixture[str]) -> None:
    def find() -> None:
        raise Missing("Install it by hand.")

    tools.install_until(find, Missing, [["false"], ["false"]])
    assert capsys.readouterr().err.splitlines()[-1] == "Install it by hand."


def test_only_root_installs_packages_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert tools.by_apt("chromium") == []


def test_a_browser_that_only_says_how_to_install_one_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "stub" / "chromium", "echo 'snap install chromium'; exit 1")
    real = program(tmp_path / "real" / "google-chrome", "echo 'Google Chrome 1.2'")
    monkeypatch.setattr(chromium, "PLACES", ())
    monkeypatch.setenv("PATH", f"{tmp_path / 'stub'}:{tmp_path / 'real'}:/bin")
    assert find_chromium.__wrapped__() == str(real)


def test_without_any_browser_the_tests_that_need_one_fail_and_say_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chromium, "PLACES", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path))
    find_chromium.cache_clear()
    with pytest.raises(NoBrowser, match="apt-get install chromium"), chromium.chromium():
        pass
    find_chromium.cache_clear()
