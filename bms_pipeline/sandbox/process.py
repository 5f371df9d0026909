"""The sandbox as a process of its own: started, waited for, steered, and stopped by its id."""

from __future__ import annotations

import json
import selectors
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import requests

from bms_pipeline.errors import PipelineError

_STEERING_SECONDS = 120.0
_STOP_SECONDS = 10.0


class SandboxFailed(PipelineError):
    """The sandbox did not start, or refused an order."""


@dataclass(frozen=True)
class Sandbox:
    """A running sandbox. ``login`` and ``mfa_login`` are what its two users log in with."""

    url: str
    folder: Path
    pid: int
    login: dict[str, str]
    mfa_login: dict[str, str]

    def behave(self, **switches: Any) -> dict[str, Any]:  # noqa: ANN401  # JSON
        """Set switches of ``Behaviour``; all of them, as they are from now on."""
        behaviour: dict[str, Any] = _steer("POST", self.url, "behaviour", switches)
        return behaviour

    def mutate(self, seed: int, hours: float = 24) -> dict[str, dict[str, list[int]]]:
        """Let ``hours`` pass; the ids that changed, by entity and kind of change."""
        return mutate(self.url, seed, hours)

    def set_clock(self, moment: float) -> None:
        """Let it be ``moment`` (seconds since the epoch), from where the sandbox's clock runs on."""
        _steer("POST", self.url, "clock", {"now": moment})

    def calls(self) -> dict[str, int]:
        """Calls so far, by method and route template."""
        calls: dict[str, int] = _steer("GET", self.url, "calls")
        return calls

    def figures(self) -> dict[str, Any]:
        """``most_in_an_hour`` and ``refused``: calls by method and route template; ``failed``: calls with a fault."""
        figures: dict[str, Any] = _steer("GET", self.url, "figures")
        return figures

    def reset_calls(self) -> None:
        """Forget all calls, also those that count towards the hourly limit."""
        _steer("POST", self.url, "reset-calls")


def mutate(url: str, seed: int, hours: float = 24) -> dict[str, dict[str, list[int]]]:
    """Let ``hours`` pass in the sandbox at ``url``; the ids that changed, by entity and kind of change."""
    order = {"seed": seed, "hours": hours}
    changes: dict[str, dict[str, list[int]]] = _steer("POST", url, "mutate", order)["entities"]
    return changes


def _steer(method: str, url: str, verb: str, order: dict[str, Any] | None = None) -> Any:  # noqa: ANN401  # JSON
    with requests.Session() as session:
        # No proxy setting of the environment may lead away from the loopback address.
        session.trust_env = False
        try:
            answer = session.request(method, f"{url}/sandbox/{verb}", json=order, timeout=_STEERING_SECONDS)
        except requests.RequestException as error:
            raise SandboxFailed(
                f"No sandbox answers at {url}: {error}", "Start one: bms-pipeline sandbox run"
            ) from error
    if not answer.ok:
        raise SandboxFailed(f"The sandbox refused {verb!r}: {answer.text}")
    return answer.json()


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
    """A sandbox with the tenant in ``folder``, which is generated there unless one is. Stopped on leaving.

    Raises ``SandboxFailed`` with what it wrote when it is not ready after ``start_seconds``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log_file = folder / "sandbox.log"
    command = [
        sys.executable, "-m", "bms_pipeline.sandbox", "--size", size, "--seed", str(seed), "--folder", str(folder),
        "--port", str(port), "--behaviour", json.dumps(behaviour or {}), "--exit-with-parent",
    ]  # fmt: skip
    with (
        log_file.open("wb") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, start_new_session=True) as process,  # noqa: S603
    ):
        try:
            ready = _ready_line(process, start_seconds)
            if ready is None:
                raise SandboxFailed(f"The sandbox did not start: {log_file.read_text(errors='replace')[-2000:]}")
            yield Sandbox(ready["url"], folder, process.pid, ready["login"], ready["mfa_login"])
        finally:
            _stop(process)


def _ready_line(process: subprocess.Popen[bytes], seconds: float) -> dict[str, Any] | None:
    """The line that a started sandbox prints; none if it ends or says nothing in time."""
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
