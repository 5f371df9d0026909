"""What `dev` and `console` start ends with them, however they end; and no secret is on any command line."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import requests

from bms_pipeline.cli import serve
from bms_pipeline.core.settings import Settings, read_settings
from bms_pipeline.guard import vouching
from bms_pipeline.guard.serving import listen
from bms_pipeline.guard.store import Store
from bms_pipeline.guard.vouching import Launch
from bms_pipeline_tests.running import quick_and_soak

ENDS = quick_and_soak([signal.SIGKILL], [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
"""Of `dev`; `dagster-ui` and `console` are ended by SIGTERM below."""
ROOT = Path(__file__).parents[2]
CANARY = "canary-password-7c1f"


class Started:
    """`bms-pipeline` with some arguments, and all that it started."""

    def __init__(self, folder: Path, *arguments: str, ignored: Sequence[signal.Signals] = (), **more: str) -> None:
        self.home = folder / "home"
        self.log = folder / "log"
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "BMS_PIPELINE_HOME": str(self.home),
            "BMS_PASSWORD": CANARY,
            **more,
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*_ignoring(ignored), sys.executable, "-m", "bms_pipeline.cli", *arguments],
                cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def all(self) -> list[psutil.Process]:
        """It, and what it started so far."""
        with suppress(psutil.NoSuchProcess):
            found = psutil.Process(self.process.pid)
            return [found, *found.children(recursive=True)]
        return []

    def kill(self) -> None:
        """Leave nothing behind, whatever the test came to."""
        for process in self.all():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait(30)


def _ignoring(ignored: Sequence[signal.Signals]) -> list[str]:
    """The beginning of a command that starts the rest as a script's `command &` does: with signals ignored."""
    names = " ".join(number.name.removeprefix("SIG") for number in ignored)
    return ["/bin/sh", "-c", f"trap '' {names}; exec \"$@\"", "sh"] if ignored else []


def until(happened: Callable[[], bool], what: str, seconds: float = 150) -> None:
    give_up = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < give_up, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.2)


def all_gone(processes: list[psutil.Process]) -> None:
    """Wait until none of ``processes`` is alive; a failure names those that are."""
    with suppress(AssertionError):
        until(lambda: not any(_is_alive(process) for process in processes), "all of it is gone", 60)
    left = [(process.pid, process.status(), process.cmdline()[:6]) for process in processes if _is_alive(process)]
    assert left == []


def free_ports(count: int) -> list[int]:
    listeners = [listen(0) for _ in range(count)]
    ports = [int(listener.getsockname()[1]) for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


def answers(port: int) -> bool:
    with suppress(requests.RequestException):
        return requests.get(f"http://127.0.0.1:{port}/", headers={"Connection": "close"}, timeout=5).status_code == 403
    return False


def is_free(port: int) -> bool:
    with suppress(Exception), listen(port):
        return True
    return False


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., Started]]:
    found: list[Started] = []

    def start(*arguments: str, ignored: Sequence[signal.Signals] = (), **more: str) -> Started:
        found.append(Started(tmp_path, *arguments, ignored=ignored, **more))
        return found[-1]

    yield start
    for each in found:
        each.kill()


@pytest.mark.parametrize("end", ENDS)
def test_whatever_ends_dev_ends_all_that_it_started(started: Callable[..., Started], end: signal.Signals) -> None:
    ports = free_ports(2)
    dev = started("dev", "--port", str(ports[0]), "--console-port", str(ports[1]))
    until(lambda: all(map(answers, ports)), dev.log.read_text())
    until(lambda: "code server" in dev.log.read_text(), "the daemon has loaded the code")
    until(lambda: "─ Ready ─" in dev.log.read_text(), "a frame says that the pages answer")
    frame = dev.log.read_text().split("─ Ready ─")[1]
    assert all(f"http://127.0.0.1:{port} " in frame for port in ports), "with the addresses and, in a log, no code"
    processes = dev.all()
    assert len(processes) >= 5, processes

    second = started("dev", "--port", str(ports[0]), "--console-port", "0")
    assert second.process.wait(60) == 1, "at once, before it starts anything"
    assert f"Port {ports[0]} of 127.0.0.1 cannot be listened on" in " ".join(second.log.read_text().split())

    codes = [Store(dev.home / "guard").new_code()]
    key = (dev.home / "guard" / "key").read_bytes() if (dev.home / "guard" / "key").exists() else b"none yet"
    for process in processes:
        line = "\0".join(process.cmdline())
        assert not any(secret in line for secret in (*codes, key.hex(), CANARY, "enter?code"))
        environment = Path(f"/proc/{process.pid}/environ")
        assert stat.S_IMODE(environment.stat().st_mode) == 0o400, "its environment is its owner's alone"

    urls = {"DAGSTER_URL": f"http://127.0.0.1:{ports[0]}", "CONSOLE_URL": f"http://127.0.0.1:{ports[1]}"}
    for child in psutil.Process(dev.process.pid).children():
        found = child.environ()
        assert {name: found[name] for name in urls} == urls, "links lead from Dagster to the console and back"

    os.kill(dev.process.pid, end)
    until(lambda: not any(_is_alive(process) for process in processes), "all of it is gone", 120)
    assert all(map(is_free, ports))
    assert "Traceback" not in dev.log.read_text()
    if end != signal.SIGKILL:
        assert Store(dev.home / "guard").served() == []


def test_what_is_exported_goes_before_the_file_in_all_that_dev_starts(
    started: Callable[..., Started], tmp_path: Path
) -> None:
    """A sandbox's `dev` in a tenant's folder must not touch that tenant: Dagster alone would prefer `.env`."""
    file = tmp_path / ".env"
    others = tmp_path / "of the tenant"
    file.write_text(f"BMS_TENANT=tenant\nBMS_PIPELINE_HOME='{others}'\nDAGSTER_HOME='{others}'\nOTHER_LINE=read\n")
    file.chmod(0o600)
    ports = free_ports(2)
    exported = {"BMS_TENANT": "sandbox", "DAGSTER_HOME": str(tmp_path / "home" / "dagster")}
    dev = started("dev", "--port", str(ports[0]), "--console-port", str(ports[1]), **exported)
    until(lambda: "Started Dagster code server" in dev.log.read_text(), "the daemon has started the code")
    until(lambda: "─ Ready ─" in dev.log.read_text(), "the pages answer")
    environments = [process.environ() for process in dev.all()]
    for name, text in {**exported, "BMS_PIPELINE_HOME": str(dev.home)}.items():
        assert {environment[name] for environment in environments} == {text}
    assert "read" in {environment.get("OTHER_LINE") for environment in environments}, "another program's line"
    assert not others.exists()


def test_a_console_is_opened_by_its_owner_alone_and_sigterm_ends_it_with_the_run_that_it_started(
    started: Callable[..., Started], tmp_path: Path
) -> None:
    said, opener = tmp_path / "said", tmp_path / "xdg-open"
    opener.write_text(f'#!/bin/sh\necho "$@" > {said}\n')
    opener.chmod(0o700)
    (port,) = free_ports(1)
    path = f"{tmp_path}:{os.environ['PATH']}"
    console = started("console", "--port", str(port), "--open", BROWSER=f"{opener} %s", PATH=path)
    until(lambda: said.exists() and said.read_text().endswith("\n"), "the browser is opened")
    until(lambda: answers(port), "the console answers")
    assert f"http://127.0.0.1:{port}" in console.log.read_text()
    assert "code=" not in console.log.read_text(), "which is no terminal"
    _is_opened_by_a_file_that_only_its_owner_can_read(said.read_text().strip())
    _sign_in_prints_a_code_and_signs_everybody_out(started, port)
    _sigterm_ends_the_run_too(console, port)


def _is_opened_by_a_file_that_only_its_owner_can_read(said: str) -> None:
    assert "code" not in said
    opened = Path(said.removeprefix("file://"))
    assert "enter?code=" in opened.read_text()
    assert stat.S_IMODE(opened.stat().st_mode) == 0o600


def _sign_in_prints_a_code_and_signs_everybody_out(started: Callable[..., Started], port: int) -> None:
    signed = started("sign-in")
    assert signed.process.wait(60) == 0
    (line,) = [line for line in signed.log.read_text().splitlines() if "code=" in line]
    first = requests.get(line.split()[-1], headers={"Connection": "close"}, timeout=30)
    assert first.status_code == 200
    assert requests.get(line.split()[-1], headers={"Connection": "close"}, timeout=30).status_code == 403

    ended = started("sign-in", "--end-all")
    assert ended.process.wait(60) == 0
    cookies = dict(first.cookies)
    again = requests.get(f"http://127.0.0.1:{port}/", cookies=cookies, headers={"Connection": "close"}, timeout=30)
    assert again.status_code == 403, "every browser is signed out"


def _sigterm_ends_the_run_too(console: Started, port: int) -> None:
    # A service that takes the call and never answers: the run waits for it.
    with listen(0) as silent, requests.Session() as browser:
        browser.headers.update({"Connection": "close", "Origin": f"http://127.0.0.1:{port}"})
        settings = console.home.parent / ".env"
        settings.write_text(f"BMS_URL=http://127.0.0.1:{silent.getsockname()[1]}\nBMS_TENANT=x\nBMS_USERNAME=x\n")
        settings.chmod(0o600)
        browser.get(f"http://127.0.0.1:{port}/enter?code={Store(console.home / 'guard').new_code()}", timeout=30)
        _send(browser, port, "/name", "/name", name="Alex")
        _send(browser, port, "/setup", "/setup/read")
        until(lambda: len(console.all()) == 2, "the run is at work")
        processes = console.all()
        console.process.terminate()
        until(lambda: not any(_is_alive(process) for process in processes), "both are gone", 60)
    assert Store(console.home / "guard").served() == []
    assert "Traceback" not in console.log.read_text()


def test_a_parent_that_is_killed_takes_along_the_session_of_its_child(tmp_path: Path) -> None:
    child = (
        "import subprocess, sys, time; from bms_pipeline.core.lifeline import following\n"
        "with following():\n"
        "    inner = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"    open({str(tmp_path / 'pids')!r}, 'w').write(f'{{inner.pid}} {{__import__(\"os\").getpid()}}\\n')\n"
        "    time.sleep(600)\n"
    )
    parent = (
        "import os, sys, time; from bms_pipeline.core.lifeline import Child\n"
        f"child = Child([sys.executable, '-c', {child!r}], env=dict(os.environ))\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", parent]) as process:
        until(lambda: (tmp_path / "pids").exists() and (tmp_path / "pids").read_text().endswith("\n"), "both run")
        found = [psutil.Process(int(pid)) for pid in (tmp_path / "pids").read_text().split()]
        process.kill()
    until(lambda: not any(_is_alive(each) for each in found), "both are gone", 60)


def _send(browser: requests.Session, port: int, page: str, action: str, **fields: str) -> None:
    text = browser.get(f"http://127.0.0.1:{port}{page}", timeout=60).text
    form = text.partition(f'action="{action}"')[2]
    csrf = form.partition('name="csrf" value="')[2].partition('"')[0]
    answer = browser.post(f"http://127.0.0.1:{port}{action}", data={"csrf": csrf, **fields}, timeout=60)
    assert answer.status_code == 200, answer.text[-500:]


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_our_dagster_yaml_goes_where_there_is_none_and_an_exported_home_is_kept_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(_env_file=None, bms_pipeline_home=tmp_path / "home")  # type: ignore[call-arg]
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    home = serve._dagster_home(settings)
    assert home == (tmp_path / "home" / "dagster").absolute()
    assert (home / "dagster.yaml").read_bytes() == (ROOT / "dagster.yaml").read_bytes()
    assert capsys.readouterr().err == ""

    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    assert serve._dagster_home(settings) == home
    assert (home / "dagster.yaml").read_text() == "telemetry: {enabled: false}\n", "what a person wrote stays"
    assert "differs from the shipped" in " ".join(capsys.readouterr().err.split())

    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "exported"))
    assert serve._dagster_home(read_settings(None)) == tmp_path / "exported"


def test_tenants_that_share_dagsters_pages_share_the_guard(tmp_path: Path) -> None:
    both = {"bms_pipeline_guard": tmp_path / "guard"}
    first, second = (
        Settings(_env_file=None, bms_pipeline_home=tmp_path / name, **both)  # type: ignore[call-arg, arg-type]
        for name in ("first", "second")
    )
    store = Store(first.guard_folder)
    launch = Launch("finish", {}, {vouching.TAG: vouching.vouch(store, "finish", {}, "Alex")})
    with vouching.vouched(second, launch, "") as by:
        assert by == "Alex"
    with store.serving("console", "http://127.0.0.1:1"), Store(second.guard_folder).serving("console", "http://x:2"):
        assert len(store.served()) == 2


def test_other_machines_reach_dagsters_pages_only_through_a_proxy(started: Callable[..., Started]) -> None:
    refused = started("dagster-ui", "--host", "0.0.0.0")
    assert refused.process.wait(60) == 1
    assert "BMS_PIPELINE_TRUSTED_PROXY" in refused.log.read_text()


@pytest.mark.parametrize(
    "ignored", [(), (signal.SIGINT, signal.SIGTERM)], ids=["typed", "in the background of a script"]
)
def test_dagsters_pages_alone_end_with_their_command(
    started: Callable[..., Started], ignored: Sequence[signal.Signals]
) -> None:
    """Dagster handles SIGTERM as it found SIGINT: ignored where a script started all of it in the background."""
    (port,) = free_ports(1)
    pages = started("dagster-ui", "--port", str(port), ignored=ignored)
    until(lambda: answers(port), "the pages answer")
    processes = pages.all()
    assert len(processes) >= 3, "the command, the pages, the code"
    pages.process.terminate()
    all_gone(processes)
    assert is_free(port)
    assert "Traceback" not in pages.log.read_text()
