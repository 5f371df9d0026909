"""The stand-ins as processes of their own: started, waited for, steered, and stopped by its id."""

from __future__ import annotations

import json
import selectors
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import requests

from bms_pipeline.core.errors import PipelineError
from bms_sandbox.documents_api.templates import LANGUAGES, TemplatesRefused, file_of, read_templates

_STEERING_SECONDS = 120.0
_STOP_SECONDS = 10.0


class SandboxFailed(PipelineError):
    """The sandbox did not start, or refused an order."""


@dataclass(frozen=True)
class Sandbox:
    """A running sandbox. ``login`` and ``mfa_login`` are the logins of its two users."""

    url: str
    folder: Path
    pid: int
    login: dict[str, str]
    mfa_login: dict[str, str]

    def behave(self, **switches: Any) -> dict[str, Any]:  # noqa: ANN401  # JSON
        """Set switches of ``Behaviour``; return all of them, as they are from now on."""
        behaviour: dict[str, Any] = _steer("POST", self.url, "behaviour", switches)
        return behaviour

    def mutate(self, seed: int, hours: float = 24) -> dict[str, dict[str, list[int]]]:
        """Let ``hours`` pass; the ids that changed, by entity and kind of change."""
        return mutate(self.url, seed, hours)

    def set_clock(self, moment: float) -> None:
        """Set the sandbox's clock to ``moment`` (seconds since the epoch), from where it runs on."""
        _steer("POST", self.url, "clock", {"now": moment})

    def calls(self) -> dict[str, int]:
        """Calls so far, by method and route template."""
        calls: dict[str, int] = _steer("GET", self.url, "calls")
        return calls

    def figures(self) -> dict[str, Any]:
        """Return ``most_in_an_hour`` and ``refused``, by method and route template, and the ``failed`` calls."""
        figures: dict[str, Any] = _steer("GET", self.url, "figures")
        return figures

    def reset_calls(self) -> None:
        """Forget all calls, also those that count towards the hourly limit."""
        _steer("POST", self.url, "reset-calls")


@dataclass(frozen=True)
class SandboxPassportal:
    """A running stand-in for Passportal, and its access key."""

    url: str
    folder: Path
    pid: int
    key_id: str
    secret: str

    @property
    def users_file(self) -> Path:
        """The file written by ``export_users``."""
        return self.folder / "users.csv"

    def environment(self) -> dict[str, str]:
        """Export the users, and return the settings for the pipeline to reach it."""
        return {
            "PASSPORTAL_TARGET": "documents_api",
            "PASSPORTAL_URL": self.url,
            "PASSPORTAL_KEY_ID": self.key_id,
            "PASSPORTAL_SECRET": self.secret,
            "PASSPORTAL_USERS_FILE": str(self.export_users()),
        }

    def behave(self, **switches: Any) -> dict[str, Any]:  # noqa: ANN401  # JSON
        """Set switches of ``PassportalBehaviour``; return all of them, as they are from now on."""
        behaviour: dict[str, Any] = _steer("POST", self.url, "behaviour", switches)
        return behaviour

    def set_clock(self, moment: float) -> None:
        """Set its clock to ``moment`` (seconds since the epoch), from where it runs on."""
        _steer("POST", self.url, "clock", {"now": moment})

    def calls(self) -> dict[str, int]:
        """Calls so far, by method and route template."""
        calls: dict[str, int] = _steer("GET", self.url, "calls")
        return calls

    def reset_calls(self) -> None:
        """Forget all calls."""
        _steer("POST", self.url, "reset-calls")

    def records(self) -> list[dict[str, Any]]:
        """Return all records of Passportal, in the columns of the embedded store's table but its running number."""
        records: list[dict[str, Any]] = _steer("GET", self.url, "records")
        return records

    def edit(self, record_id: str | int, **changes: Any) -> dict[str, Any]:  # noqa: ANN401  # JSON
        """Change a record as a person does: ``title``, ``description``, ``custom_id``, ``disabled``, ``details``."""
        edited: dict[str, Any] = _steer("POST", self.url, "edit", {"id": str(record_id), **changes})
        return edited

    def import_file(self, entity: str, file: Path) -> int:
        """Import a CSV of ``clients`` or ``users`` as a person does; return the number of records made."""
        return import_file(self.url, entity, file)

    def export_users(self) -> Path:
        """Export the users as a person does; return the file."""
        export_users(self.url, self.users_file)
        return self.users_file


def import_file(url: str, entity: str, file: Path) -> int:
    """Import a CSV into the sandbox Passportal at ``url``; return the number of records made, all of them new [D]."""
    imported: int = _call("POST", url, f"import/{entity}", data=file.read_bytes()).json()["imported"]
    return imported


def import_new_files(url: str, folder: Path) -> list[Path]:
    """Import the CSV files of ``folder`` not imported yet, as a person does who ticks them off; return those files.

    Their names begin with the entity; the ticks are in the folder's file ``.imported``.
    """
    ticks = folder / ".imported"
    ticked = ticks.read_text().splitlines() if ticks.exists() else []
    new = [file for file in sorted(folder.glob("*.csv")) if file.name not in ticked]
    for file in new:
        import_file(url, file.name.partition("-")[0], file)
        ticked.append(file.name)
        ticks.write_text("".join(f"{name}\n" for name in ticked))
    return new


def export_users(url: str, file: Path) -> None:
    """Export the users of the sandbox Passportal at ``url`` into ``file``."""
    file.write_bytes(_call("GET", url, "users.csv").content)


def mutate(url: str, seed: int, hours: float = 24) -> dict[str, dict[str, list[int]]]:
    """Let ``hours`` pass in the sandbox at ``url``; the ids that changed, by entity and kind of change."""
    order = {"seed": seed, "hours": hours}
    changes: dict[str, dict[str, list[int]]] = _steer("POST", url, "mutate", order)["entities"]
    return changes


def _steer(method: str, url: str, verb: str, order: dict[str, Any] | None = None) -> Any:  # noqa: ANN401  # JSON
    return _call(method, url, verb, json=order).json()


def _call(method: str, url: str, verb: str, **sent: Any) -> requests.Response:  # noqa: ANN401  # as requests takes it
    with requests.Session() as session:
        # No proxy setting of the environment may lead away from the loopback address.
        session.trust_env = False
        try:
            answer = session.request(method, f"{url}/sandbox/{verb}", timeout=_STEERING_SECONDS, **sent)
        except requests.RequestException as error:
            raise SandboxFailed(
                f"No sandbox answers at {url}: {error}", "Start one: bms-pipeline sandbox run"
            ) from error
    if not answer.ok:
        raise SandboxFailed(f"The sandbox refused {verb!r}: {answer.text}")
    return answer


@contextmanager
def running_sandbox(
    size: str,
    seed: int,
    folder: Path,
    behaviour: dict[str, Any] | None = None,
    *,
    port: int = 0,
    start_seconds: float = 180.0,
) -> Iterator[Sandbox]:
    """Run a sandbox with the tenant in ``folder``, generated there if there is none. Stop it on leaving.

    Raises ``SandboxFailed`` with its output when it is not ready after ``start_seconds``.
    """
    command = [
        "bms_sandbox", "--size", size, "--seed", str(seed), "--folder", str(folder),
        "--port", str(port), "--behaviour", json.dumps(behaviour or {}),
    ]  # fmt: skip
    with _serving(command, folder / "sandbox.log", start_seconds) as (pid, ready):
        yield Sandbox(ready["url"], folder, pid, ready["login"], ready["mfa_login"])


@contextmanager
def running_passportal(
    folder: Path,
    tenant_folder: Path,
    behaviour: dict[str, Any] | None = None,
    *,
    language: str = "",
    templates: Path | None = None,
    port: int = 0,
    start_seconds: float = 180.0,
) -> Iterator[SandboxPassportal]:
    """Run a Passportal stored in ``folder``, filled on first use from a saved tenant. Stop it on leaving.

    Its templates are those of ``language`` or of the file ``templates``; default: Passportal's own, in English.
    ``port``: 0 for the port of its last run, at first any free one, because a home folder knows Passportal by its
    address. Raises ``SandboxFailed`` with its output when it is not ready after ``start_seconds``.
    """
    _check_templates(language, templates)
    last_port = folder / "port"
    port = port or (int(last_port.read_text()) if last_port.exists() else 0)
    command = [
        "bms_sandbox.documents_api", "--tenant", str(tenant_folder), "--folder", str(folder),
        "--port", str(port), "--behaviour", json.dumps(behaviour or {}), "--language", language,
        *(["--templates", str(templates)] if templates else []),
    ]  # fmt: skip
    with _serving(command, folder / "sandbox.log", start_seconds) as (pid, ready):
        last_port.write_text(str(urlsplit(ready["url"]).port))
        yield SandboxPassportal(ready["url"], folder, pid, ready["key_id"], ready["secret"])


def _check_templates(language: str, file: Path | None) -> None:
    """Raise ``SandboxFailed`` where there are no such templates."""
    try:
        if language or file:
            read_templates(file or file_of(language))
    except TemplatesRefused as error:
        languages = ", ".join(LANGUAGES)
        raise SandboxFailed(str(error), f"Choose --language {languages}, or correct the file of --templates.") from None


@contextmanager
def _serving(command: Sequence[str], log_file: Path, seconds: float) -> Iterator[tuple[int, dict[str, Any]]]:
    """Run this module with these arguments; yield the id of its process, and the line it printed when ready."""
    log_file.parent.mkdir(parents=True, exist_ok=True)
    arguments = [sys.executable, "-m", *command, "--exit-with-parent"]
    with (
        log_file.open("wb") as log,
        subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=log, start_new_session=True) as process,  # noqa: S603
    ):
        try:
            ready = _ready_line(process, seconds)
            if ready is None:
                raise SandboxFailed(f"The sandbox did not start: {log_file.read_text(errors='replace')[-2000:]}")
            yield process.pid, ready
        finally:
            _stop(process)


def _ready_line(process: subprocess.Popen[bytes], seconds: float) -> dict[str, Any] | None:
    """Return the line printed by a started sandbox; None if it ends or prints nothing in time."""
    output: IO[bytes] | None = process.stdout
    if output is None:
        return None
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        if not selector.select(seconds):
            return None
    line = output.readline()
    return json.loads(line) if line.strip() else None


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
