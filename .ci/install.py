"""Install locks into the environment whose Python runs this: ``.venv/bin/python .ci/install.py LOCK ... [--editable]``.

uv does it where it is on PATH or can be installed, which takes seconds; else pip does, which takes a minute. Both check
every file against the hashes in the locks, and both read the index that pip is configured with. With ``--editable`` the
project in this folder is installed too. ``--uv ARGUMENT ...`` runs uv itself.
"""

from __future__ import annotations

import ast
import compileall
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path

LOCK_OF_UV = "requirements-uv.lock"
LOCKED = ["--require-hashes", "--no-deps"]
EDITABLE = ["--no-deps", "--no-build-isolation", "--editable", "."]
_INDEX_SETTINGS_OF_UV = ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_CONFIG_FILE")
_SEPARATED_BY = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "cert": ("SSL_CERT_FILE", " "),
    "client-cert": ("SSL_CLIENT_CERT", " "),
    "proxy": ("ALL_PROXY", " "),
}
"""pip's settings: uv's name for each, and what uv puts between several values."""


class NoInstaller(Exception):
    """Neither uv nor pip can be had."""


def main(arguments: list[str]) -> int:
    """Install, or run uv, and return the exit code."""
    try:
        if arguments[:1] == ["--uv"]:
            return run_uv(arguments[1:])
        locks = [lock for lock in arguments if lock != "--editable"]
        return install(locks, editable="--editable" in arguments)
    except NoInstaller as error:
        print(error, file=sys.stderr)
        return 1


def install(locks: list[str], *, editable: bool) -> int:
    """Install all of ``locks``, and return the exit code. Raises ``NoInstaller``."""
    wanted = [
        [*LOCKED, *(part for lock in locks for part in ("--requirement", lock))],
        *([EDITABLE] if editable else []),
    ]
    uv = find_uv()
    if not (uv and installed_by([uv, "pip"], wanted, uv_environment(os.environ, pip_settings()))):
        why = "uv did not install it" if uv else "uv is not on PATH and cannot be installed"
        print(f"{why}: pip does it, which takes a minute or two ...", file=sys.stderr)
        if not installed_by(find_pip() or make_pip(), wanted, os.environ):
            return 1
    if sys.dont_write_bytecode:  # else each start would compile what it imports, and forget it
        tests = re.compile(r"[/\\]tests?[/\\]")
        for folder in (sysconfig.get_path("purelib"), "bms_pipeline"):
            compileall.compile_dir(folder, rx=tests, quiet=2, workers=0)
    return 0


def run_uv(arguments: list[str]) -> int:
    """Run uv, and return its exit code. Raises ``NoInstaller``."""
    uv = find_uv()
    if uv is None:
        raise NoInstaller("uv is not on PATH and cannot be installed, and only uv makes locks for every system.")
    return subprocess.run([uv, *arguments], env=uv_environment(os.environ, pip_settings()), check=False).returncode


def installed_by(program: list[str], wanted: Sequence[list[str]], environment: Mapping[str, str]) -> bool:
    """Whether ``program``, which is uv or pip, installed all that is ``wanted``, and it fits together."""
    quiet = {**environment, "PYTHONWARNINGS": "ignore", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "VIRTUAL_ENV": sys.prefix}
    commands = [[*program, "install", "--quiet", *arguments] for arguments in wanted]
    if any(subprocess.run(command, env=quiet, check=False).returncode for command in commands):
        return False
    # The lock is for every Python at once. What this one lacks would show here.
    checked = subprocess.run([*program, "check"], env=quiet, check=False, capture_output=True, text=True)
    if checked.returncode:
        print(checked.stdout, checked.stderr, file=sys.stderr)
    return not checked.returncode


def find_uv() -> str | None:
    """Return a uv that runs: that on PATH, else this environment's own, which is installed if pip can; else None."""
    own = Path(sys.prefix) / "bin" / "uv"
    for found in (shutil.which("uv"), own):
        if found and _succeeds([str(found), "--version"]):
            return str(found)
    try:
        install = [*(find_pip() or make_pip()), "install", "--quiet", *LOCKED, "--requirement", LOCK_OF_UV]
    except NoInstaller:
        return None
    return str(own) if _succeeds(install) and _succeeds([str(own), "--version"]) else None


def find_pip() -> list[str] | None:
    """Return the command of a pip that installs here: this environment's own, or the base interpreter's; else None."""
    own = [sys.executable, "-m", "pip"]
    base = [str(Path(sys.executable).resolve()), "-m", "pip", "--python", sys.executable]
    return next((pip for pip in (own, base) if _succeeds([*pip, "--version"])), None)


def make_pip() -> list[str]:
    """Give this environment a pip of its own, which takes longer than all that uv does. Raises ``NoInstaller``."""
    if not _succeeds([sys.executable, "-m", "ensurepip"]):
        raise NoInstaller(
            f"{Path(sys.executable).resolve()} has no pip and cannot make one, and uv is not on PATH. Install one of"
            " them (Debian: apt-get install python3-venv), and run make again."
        )
    return [sys.executable, "-m", "pip"]


def pip_settings() -> dict[str, str]:
    """Return what pip's files say about where packages come from: option → value. Empty where there is no pip."""
    pip = find_pip()
    listed = subprocess.run([*pip, "config", "list"], check=False, capture_output=True, text=True).stdout if pip else ""
    found = {}
    for scope in ("global", "install"):
        for line in listed.splitlines():
            name, _, value = line.partition("=")
            if name.startswith(f"{scope}."):
                found[name.removeprefix(f"{scope}.")] = str(ast.literal_eval(value))
    return found


def uv_environment(environment: Mapping[str, str], settings: Mapping[str, str]) -> dict[str, str]:
    """Return ``environment`` with pip's settings in uv's words. What uv is configured with stands."""
    if any(environment.get(name) for name in _INDEX_SETTINGS_OF_UV):
        return dict(environment)
    # As pip: of all indexes the best version, which is the locked one. uv would look in the first that has the name.
    made = {"UV_INDEX_STRATEGY": "unsafe-best-match"}
    for option, (name, separator) in _SEPARATED_BY.items():
        value = environment.get("PIP_" + option.upper().replace("-", "_")) or settings.get(option)
        if value:
            made[name] = separator.join(value.split())
    return {**made, **environment}


def _succeeds(command: list[str]) -> bool:
    try:
        return not subprocess.run(command, check=False, capture_output=True).returncode
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
