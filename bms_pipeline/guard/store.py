"""The guard's folder: its key, one-time codes, used vouchers, and the addresses of served pages.

All of it is files that only their owner may read. So all processes of one person share them: the console, Dagster's
pages, a run, and the command for a new code. Using a code removes its file, which only one process can do.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bms_pipeline.core.errors import ApprovalRefused, PipelineError, SettingsError
from bms_pipeline.core.files import atomic_write

CODE_SECONDS = 600.0
"""Lifetime of a one-time code."""
VOUCHER_SECONDS = 24 * 3600.0
"""Longest wait of a launch for its run. Used vouchers are remembered for longer."""


@dataclass(frozen=True)
class Served:
    """Served pages: their name for people, and the address without any code."""

    name: str
    address: str


class Store:
    """The guard's ``folder``, which only its owner may read. Nothing is cached: a replaced key counts at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def sign(self, purpose: str, text: str) -> str:
        """Sign ``text`` for one purpose. A signature for another purpose does not match."""
        return hmac.new(self._key(), f"{purpose}\n{text}".encode(), "sha256").hexdigest()

    def is_signed(self, purpose: str, text: str, signature: str) -> bool:
        """Return whether ``signature`` equals the result of ``sign``."""
        return hmac.compare_digest(self.sign(purpose, text).encode(), signature.encode(errors="replace"))

    def new_code(self) -> str:
        """Create a code that opens one session, within ``CODE_SECONDS``."""
        folder = self._subfolder("codes")
        _forget(folder, CODE_SECONDS)
        code = secrets.token_urlsafe(18)
        _create(folder / _hidden(code), b"")
        return code

    def take_code(self, code: str) -> bool:
        """Use up ``code``. Return whether it existed and was young enough."""
        file = self._subfolder("codes") / _hidden(code)
        try:
            age = time.time() - file.stat().st_mtime
            file.unlink()
        except FileNotFoundError:
            return False
        return abs(age) <= CODE_SECONDS  # a code from the future, made under a fast clock, expires as well

    @contextlib.contextmanager
    def using_once(self, nonce: str) -> Iterator[None]:
        """Do once what ``nonce`` allows. After a failure it may be tried again, after success it may not.

        Raises ``ApprovalRefused`` if it was used before. Call it only while holding the home folder's run lock.
        """
        file = self._subfolder("used") / _hidden(nonce)
        if file.exists():
            raise ApprovalRefused(
                "This launch was used already: it approves or decides once.", "Launch the job again from its launchpad."
            )
        yield
        _forget(file.parent, 2 * VOUCHER_SECONDS)
        _create(file, b"")

    @contextlib.contextmanager
    def serving(self, name: str, address: str) -> Iterator[None]:
        """Let ``sign-in`` find the pages ``name`` at ``address`` while the context is open."""
        file = self._subfolder("served") / f"{name} {address.rpartition(':')[2]}"
        with atomic_write(file) as unfinished:
            unfinished.write_text(f"{address}\n{_hidden(address)}", encoding="utf-8")
        try:
            yield
        finally:
            if _address_in(file) == address:
                file.unlink(missing_ok=True)

    def served(self) -> list[Served]:
        """Return the served pages, including those of a killed process. Pages with a damaged file are left out."""
        files = sorted((self.folder / "served").glob("* *"))
        found = [Served(file.name.partition(" ")[0], _address_in(file)) for file in files]
        return [pages for pages in found if pages.address]

    def redirecting_file(self, address: str) -> Path:
        """Write a file that leads a browser to ``address``; return its path.

        This keeps the address off command lines.
        """
        folder = self._subfolder("open")
        _forget(folder, CODE_SECONDS)
        file = folder / f"{secrets.token_hex(8)}.html"
        page = f'<!doctype html><meta http-equiv="refresh" content="0;url={address}"><a href="{address}">Go on</a>\n'
        _create(file, page.encode())
        return file

    def end_all_sessions(self) -> None:
        """Replace the key. This ends every session, code and waiting launch."""
        (self.folder / "key").unlink(missing_ok=True)
        _forget(self._subfolder("codes"), 0)

    def _key(self) -> bytes:
        file = self.folder / "key"
        for _ in range(10):
            try:
                descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW)
            except FileNotFoundError:
                self._make_key(file)
                continue
            with os.fdopen(descriptor, "rb") as opened:
                if os.fstat(descriptor).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                    raise SettingsError(f"{file} can be read by other users of this machine.", f"Remove {file}.")
                key = opened.read()
            if len(key) == 32 and any(key):  # a power cut can leave a file of full length with only zeros
                return key
            raise SettingsError(f"{file} is damaged.", f"Remove {file}; everybody signs in again.")
        raise SettingsError(f"{file} cannot be made.", "See who else writes in the home folder.")

    def _make_key(self, file: Path) -> None:
        """Write a new key, unless another process does so first."""
        unfinished = self._subfolder("") / f".key.{secrets.token_hex(8)}"
        _create(unfinished, secrets.token_bytes(32))
        try:
            with contextlib.suppress(FileExistsError):
                os.link(unfinished, file)
        finally:
            unfinished.unlink()

    def _subfolder(self, name: str) -> Path:
        folder = self.folder / name
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            folder.mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            raise PipelineError(
                f"{folder} cannot be made: {error.strerror}.", "See who owns the home folder and whether it is full."
            ) from error
        return folder


def _create(file: Path, content: bytes) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(content)


def _forget(folder: Path, seconds: float) -> None:
    """Remove the files of ``folder`` older than ``seconds``."""
    for file in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if time.time() - file.stat().st_mtime >= seconds:
                file.unlink()


def _hidden(text: str) -> str:
    """Return a file name that does not reveal ``text``."""
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()


def _address_in(file: Path) -> str:
    """Return the address in a file of ``served``; nothing if the file is gone or altered."""
    try:
        address, _, checksum = file.read_text(encoding="utf-8", errors="replace").partition("\n")
    except FileNotFoundError:
        return ""
    return address if checksum == _hidden(address) else ""
