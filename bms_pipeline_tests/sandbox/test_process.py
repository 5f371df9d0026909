"""The sandbox as a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import requests

from bms_pipeline_tests.sandbox.calling import logged_in
from bms_sandbox.process import Sandbox, SandboxFailed, running_sandbox
from bms_sandbox.tenant import Tenant


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_it_counts_calls_by_route_template(sandbox: Sandbox) -> None:
    sandbox.reset_calls()
    with logged_in(sandbox) as session:
        for path in ("/v2/crm/accounts/summary/101", "/api2/v2/crm/accounts/summary/102"):
            session.get(sandbox.url + path, timeout=60)
    assert sandbox.calls() == {"POST /v2/security/authenticate": 1, "GET /v2/crm/accounts/summary/{id}": 2}
    sandbox.reset_calls()
    assert sandbox.calls() == {}


def test_health_says_which_tenant_is_served(sandbox: Sandbox) -> None:
    health = requests.get(f"{sandbox.url}/sandbox/health", timeout=60).json()
    assert (health["size"], health["seed"], health["rows"]["employees"]) == ("small", 1, 12)


def test_a_mutated_tenant_stays_mutated_over_a_restart(tmp_path: Path) -> None:
    with running_sandbox("small", 4, tmp_path) as sandbox:
        changes = sandbox.mutate(9)
        with logged_in(sandbox) as session:
            gone = session.get(f"{sandbox.url}/v2/crm/contacts/summary/{changes['contacts']['deleted'][0]}", timeout=60)
        assert gone.status_code == 404
    ids = {json.loads(row)["id"] for row in Tenant.load(tmp_path).rows["contacts"]}
    assert set(changes["contacts"]["new"]) <= ids
    with running_sandbox("small", 4, tmp_path) as sandbox, logged_in(sandbox) as session:
        path = f"{sandbox.url}/v2/crm/contacts/summary/{changes['contacts']['new'][0]}"
        assert session.get(path, timeout=60).status_code == 200
        pid = sandbox.pid
    assert not alive(pid)


def test_a_sandbox_that_cannot_start_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(SandboxFailed, match="unknown switches: colour"),
        running_sandbox("small", 1, tmp_path, {"colour": 1}),
    ):
        pass


def test_it_goes_when_its_parent_is_gone(tmp_path: Path) -> None:
    script = (
        "import signal, subprocess, sys\n"
        "p = subprocess.Popen([sys.executable, '-m', 'bms_sandbox', '--folder', sys.argv[1],"
        " '--exit-with-parent'], stdout=subprocess.PIPE)\n"
        "p.stdout.readline(); print(p.pid, flush=True); signal.pause()"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, env=environment
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        orphan = psutil.Process(pid)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    assert psutil.wait_procs([orphan], timeout=120) == ([orphan], [])
