"""Secrets as files: one that ``NAME_FILE`` names, or a folder with a file for each name.

Docker, Kubernetes, systemd and the agents of vaults mount secrets so. No error has any part of a content in it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from pathlib import Path

from bms_pipeline.core.env_file import NOT_IN_A_VALUE
from bms_pipeline.core.errors import SettingsError

LARGEST_SECRET = 64 * 1024
"""The largest file with a secret, in bytes."""

_STEP = "Name a file that holds the secret as its only line."
_MOUNTS = Path("/proc/self/mountinfo")
_IN_MEMORY = {"tmpfs", "ramfs"}
"""Where Kubernetes, Docker and systemd put secrets: for one container or service, whatever the mode of the file."""


def read_secret(file: Path, where: str) -> str:
    """Return the only line in ``file``, without its line end; ``where`` says in errors which setting names it."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK)  # a pipe that nobody writes to would block
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise SettingsError(f"{where}: {file} is no regular file.", _STEP)
            with os.fdopen(descriptor, "rb", closefd=False) as stream:
                content = stream.read(LARGEST_SECRET + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise SettingsError(f"{where}: {file} cannot be read: {error.strerror}.", _STEP) from None
    try:
        secret = content.decode("utf-8-sig").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise SettingsError(f"{where}: {file} is not UTF-8.", "Save it as UTF-8.") from None
    if len(content) > LARGEST_SECRET or NOT_IN_A_VALUE.search(secret):
        raise SettingsError(f"{where}: {file} holds more than one line.", _STEP)
    if not secret:
        raise SettingsError(f"{where}: {file} is empty.", _STEP)
    return secret


def files_in(folder: Path, names: Collection[str], where: str) -> dict[str, Path]:
    """Return NAME → file for each of ``names`` in ``folder``, in capitals or small letters; other files stay unread."""
    try:
        files = sorted(folder.iterdir())
    except OSError as error:
        raise SettingsError(
            f"{where}: the folder {folder} cannot be read: {error.strerror}.",
            "Name the folder where the secrets are mounted, one file a name.",
        ) from None
    found: dict[str, Path] = {}
    for file in files:
        name = file.name.upper()
        if name not in names:
            continue
        if name in found:
            raise SettingsError(f"{where}: {found[name]} and {file} are the same name.", "Take one of them out.")
        found[name] = file
    return found


def others_may_read(file: Path) -> bool:
    """Return whether other users of this machine may read ``file``, which lies on a disk.

    A folder on its way that they may not enter keeps them out.
    """
    try:
        real = file.resolve(strict=True)
        status = real.stat()
        return (
            bool(status.st_mode & stat.S_IROTH)
            and all(folder.stat().st_mode & stat.S_IXOTH for folder in real.parents)
            and _is_on_disk(status.st_dev)
        )
    except OSError:
        return False


def _is_on_disk(device: int) -> bool:
    try:
        mounts = _MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return True
    number = f"{os.major(device)}:{os.minor(device)}"
    kinds = [fields[fields.index("-") + 1] for fields in map(str.split, mounts) if fields[2] == number]
    return not kinds or kinds[-1] not in _IN_MEMORY
