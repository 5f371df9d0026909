"""Build the C library that the strikes put below the product."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

_SOURCE = Path(__file__).with_name("shim.c")


class NoCompiler(Exception):
    """The shim cannot be built."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"The strikes cannot build {_SOURCE.name}: {why}. Install a C compiler with its headers (Debian: apt-get"
            " install gcc libc6-dev), and run make test again."
        )


def built_shim(folder: Path) -> Path:
    """Return the shared object of ``shim.c``, made in ``folder``. Raises ``NoCompiler``."""
    compiler = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)
    if compiler is None:
        raise NoCompiler("there is no cc, gcc or clang on PATH")
    made = folder / "shim.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-o", str(made), str(_SOURCE), "-ldl"]
    built = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    if built.returncode:
        raise NoCompiler(f"{compiler} ended with {built.returncode}\n{built.stderr.strip()}\n")
    return made
