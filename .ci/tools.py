"""Install what the tests need from the system, where it is missing and this user may.

Chromium, a C compiler and PostgreSQL.

What cannot be installed is no reason to stop: the tests that need it fail, and each says what to install.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parent.parent))

from bms_pipeline_tests.chromium import NoBrowser, find_chromium
from bms_pipeline_tests.postgres import why_no_programs
from bms_pipeline_tests.strikes.shim import NoCompiler, built_shim


class NoPostgres(Exception):
    """PostgreSQL's programs are not here."""


def find_postgres() -> None:
    """Raise ``NoPostgres`` where its programs are not here."""
    if why := why_no_programs():
        raise NoPostgres(f"{why}, so the tests of the state in PostgreSQL are skipped.")


def main() -> None:
    """Look for each, install what is missing, and print what is still missing."""
    download = [sys.executable, "-m", "playwright", "install", "chromium"]
    install_until(find_chromium, NoBrowser, [*by_apt("chromium"), download])
    install_until(find_postgres, NoPostgres, by_apt("postgresql"))
    with TemporaryDirectory() as folder:
        install_until(lambda: built_shim(Path(folder)), NoCompiler, by_apt("gcc", "libc6-dev"))


def install_until(find: Callable[[], object], missing: type[Exception], commands: Iterable[list[str]]) -> None:
    """Run one command after the other until ``find`` raises ``missing`` no more; print what it says at last."""
    waiting = iter(commands)
    while True:
        try:
            find()
        except missing as error:
            command = next(waiting, None)
            if command is None:
                print(error, file=sys.stderr)
                return
            print(f"The tests need more than this machine has. Trying: {' '.join(command)}", flush=True)
            subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
        else:
            return


def by_apt(*packages: str) -> list[list[str]]:
    """Return the commands that install Debian's ``packages``; none where this user or this system has no such way."""
    if os.geteuid() or not shutil.which("apt-get"):
        return []
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    install = ["apt-get", "install", "--yes", "-qq", *packages]
    return [install, ["apt-get", "update", "-qq"], install]


if __name__ == "__main__":
    main()
