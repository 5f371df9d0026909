"""Without a shared disk: home folders that share nothing but PostgreSQL and the folder, or the bucket, of the lake."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from bms_pipeline_tests import lake, postgres
from bms_pipeline_tests.bucket import running_bucket, why_no_bucket
from bms_pipeline_tests.end_to_end.test_documents_api import TWICE, UNKNOWN
from bms_pipeline_tests.end_to_end.test_kill import COMMAND, WRAPPER, import_path
from bms_pipeline_tests.running import Home, in_another_namespace, quick_and_soak, why_no_other_namespace
from bms_sandbox.process import Sandbox, running_passportal, running_sandbox

pytestmark = [
    pytest.mark.timeout(1200),
    pytest.mark.skipif(bool(lake.why_no_lake()), reason=lake.why_no_lake()),
]
KILLED = 137
OUTCOMES = "SELECT entity, outcome, count(*) FROM sync.outcomes GROUP BY ALL ORDER BY ALL"
EXCLUDED = "SELECT entity, bms_id FROM sync.exclusions ORDER BY ALL"
JOURNAL = "SELECT plan_id, entity, bms_id, operation FROM sync.journal ORDER BY ALL"


@pytest.fixture(scope="module")
def bms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with running_sandbox("small", 3, tmp_path_factory.mktemp("bms"), {"hourly_limit": None}) as sandbox:
        yield sandbox


@pytest.fixture
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The settings of a new lake, with its data in a folder or a bucket."""
    made = lake.new_lake(tmp_path / "lake")
    if request.param == "folder":
        yield made
        return
    if why := why_no_bucket():
        pytest.skip(why)
    with running_bucket() as bucket:
        yield {**made, **bucket.environment(), "BMS_PIPELINE_NAME": "msp"}
        assert bucket.objects(), "the data lies in it"


@pytest.mark.parametrize("shared", ["folder"], indirect=True)
def test_a_tenant_in_a_lake_ends_as_in_the_file(bms: Sandbox, shared: dict[str, str], tmp_path: Path) -> None:
    in_the_file, in_the_lake = homes = [
        Home(tmp_path / name, bms, dict(environment), has_lake=False)
        for name, environment in (("file", {}), ("lake", shared))
    ]
    for arguments in (COMMAND, ("exclude", "contacts", "1"), ("sync",)):
        ended = [home.call(*arguments).returncode for home in homes]
        assert ended[0] == ended[1], arguments
    maintained = in_the_lake.call("maintain-lake")
    assert maintained.returncode == 0, maintained.stderr
    assert in_the_lake.state() == in_the_file.state()
    for query in (OUTCOMES, EXCLUDED):
        assert in_the_lake.warehouse(query) == in_the_file.warehouse(query)
    assert in_the_lake.call("preview").returncode == 0
    assert not in_the_lake.settings.warehouse_file.exists()
    shown = in_the_lake.call("status")
    files = [file for file in in_the_lake.folder.rglob("*") if file.is_file()]
    assert lake.PASSWORD not in shown.stdout + shown.stderr
    assert [file for file in files if lake.PASSWORD.encode() in file.read_bytes()] == []


@pytest.mark.soak
@pytest.mark.parametrize("shared", ["folder", "bucket"], indirect=True)
def test_a_sync_killed_in_the_middle_of_its_load_ends_as_in_the_file(
    bms: Sandbox, shared: dict[str, str], tmp_path: Path
) -> None:
    in_the_file = Home(tmp_path / "file", bms, has_lake=False)
    for command in (COMMAND, ("preview",)):
        assert in_the_file.call(*command).returncode == 0
    home = Home(tmp_path / "lake_home", bms, dict(shared), has_lake=False)
    killed, outputs = killed_after("load users", home), []
    assert killed == -signal.SIGKILL
    assert home.warehouse("SELECT count(*) > 0 FROM sync.journal") == [(True,)]
    for arguments in (COMMAND, ("maintain-lake",), ("preview",)):
        done = home.run(*arguments, timeout=1200)
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout + done.stderr)
    assert home.state() == in_the_file.state()
    assert home.warehouse(OUTCOMES) == in_the_file.warehouse(OUTCOMES)
    assert home.warehouse(UNKNOWN) == [(0,)]
    for secret in {lake.PASSWORD, shared.get("AWS_SECRET_ACCESS_KEY", lake.PASSWORD)}:
        assert [text for text in outputs if secret in text] == []
        files = [file for file in home.folder.rglob("*") if file.is_file()]
        assert [file for file in files if secret.encode() in file.read_bytes()] == []


def killed_after(stage: str, home: Home) -> int:
    """Start a sync, kill it as soon as it has ended ``stage``, and return its exit code."""
    command = [sys.executable, "-m", "bms_pipeline.cli", *COMMAND]
    options: dict[str, Any] = {"env": home.environment, "cwd": home.folder, "text": True}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **options) as run:
        assert run.stderr is not None
        for line in run.stderr:
            if line.startswith(stage):
                run.kill()
                break
        return run.wait(60)


@pytest.mark.soak
def test_a_home_of_a_file_begins_with_an_empty_lake_and_finds_its_matches_again(bms: Sandbox, tmp_path: Path) -> None:
    """What an empty lake does not know is what people excluded: so nothing is created before a person has looked."""
    home = Home(tmp_path / "home", bms, has_lake=False)
    assert home.call(*COMMAND).returncode == 0
    before = home.state()["passportal"]
    (contact,) = home.warehouse("SELECT min(bms_id) FROM sync.matches WHERE entity = 'contacts'")
    home.environment |= lake.new_lake(tmp_path / "lake")
    stopped = home.call(*COMMAND)
    assert stopped.returncode == 1
    assert "another database loaded them" in " ".join(stopped.stderr.split())
    assert "bms-pipeline rebuild" in stopped.stderr
    assert home.call("rebuild", "--yes").returncode == 0
    assert home.call(*COMMAND).returncode == 1, "exclusions are not known, so nothing is created in advance"
    planned = home.call("preview", "--json")
    assert planned.returncode == 2, planned.stderr
    assert home.call("finish", json.loads(planned.stdout)["hash"]).returncode == 0
    assert home.state()["passportal"] == before
    assert home.warehouse("SELECT min(bms_id) FROM sync.matches WHERE entity = 'contacts'") == [contact]
    loaded = home.call("rebuild", "--yes")
    assert loaded.returncode == 1
    assert "Nothing was changed" in " ".join(loaded.stderr.split())


@pytest.mark.skipif(bool(why_no_other_namespace()), reason=why_no_other_namespace() or "")
@pytest.mark.parametrize(
    ("shared", "call"),
    [
        ("folder", 15),
        *(pytest.param("folder", call, marks=pytest.mark.soak) for call in (3, 9, 21, 27)),
        pytest.param("bucket", 15, marks=pytest.mark.soak),
    ],
    indirect=["shared"],
)
def test_another_home_takes_over_from_a_killed_run_and_nothing_is_lost_or_twice(
    bms: Sandbox, shared: dict[str, str], tmp_path: Path, call: int
) -> None:
    """Each home sees nothing of the other one's folder, and no process of it."""
    shared["PASSPORTAL_UNKNOWN_SECONDS"] = "2"
    with running_passportal(tmp_path / "passportal", bms.folder) as service:
        one, another = (
            Home(tmp_path / name, bms, dict(shared), service, has_lake=False) for name in ("one", "another")
        )
        read = in_a_container(one, another, "preview")
        assert read.returncode in (0, 2), read.stderr
        contact = one.warehouse("SELECT min(bms_id) FROM sync.reconciled_contacts WHERE disposition = 'to_create'")[0][
            0
        ]
        assert in_a_container(one, another, "exclude", "contacts", str(contact)).returncode == 0
        killed = in_a_container(
            one, another, *COMMAND, wrapper=WRAPPER, DIE_AT=str(call), DIE_OF="call", **import_path()
        )
        assert killed.returncode == KILLED, killed.stderr
        left, matches = one.warehouse(JOURNAL), one.warehouse("SELECT entity, bms_id, passportal_id FROM sync.matches")
        assert one.warehouse(UNKNOWN) > [(0,)]

        for _ in range(3):  # the first finds what left; what did not is sent after its time
            again = in_a_container(another, one, *COMMAND)
            if again.returncode == 0:
                break
        assert again.returncode == 0, again.stderr
        assert another.settle(), "a person imports the files, also those of the killed run"
        assert in_a_container(another, one, "sync").returncode == 0
        assert another.warehouse(UNKNOWN) == [(0,)]
        assert another.passportal(TWICE) == []
        assert set(left) <= set(another.warehouse(JOURNAL))
        assert set(matches) <= set(another.warehouse("SELECT entity, bms_id, passportal_id FROM sync.matches"))
        assert another.warehouse(EXCLUDED) == [("contacts", contact)]
        assert in_a_container(another, one, "preview").returncode == 0

        back = in_a_container(one, another, "preview")  # the first home is there again, with the file of its portion
        assert back.returncode == 0, back.stdout + back.stderr
        assert one.warehouse(UNKNOWN) == [(0,)]


def in_a_container(
    home: Home, hidden: Home, *arguments: str, wrapper: tuple[str, ...] = ("-m", "bms_pipeline.cli"), **env: str
) -> subprocess.CompletedProcess[str]:
    """Run ``bms-pipeline`` with process numbers and mounts of its own, where the folder of ``hidden`` is empty."""
    command = f'mount -t tmpfs none "{hidden.folder}" && "$@"; exit $?'
    return subprocess.run(
        [*in_another_namespace(), "sh", "-c", command, "sh", sys.executable, *wrapper, *arguments],
        env={**home.environment, **env},
        cwd=home.folder,
        capture_output=True,
        text=True,
        timeout=700,
        check=False,
    )


@pytest.fixture
def server() -> Iterator[postgres.Server]:
    with postgres.running_server() as server:
        yield server


@pytest.mark.parametrize("at_call", quick_and_soak([40], [1, 20, 80, 120]))
def test_postgres_may_stop_in_the_middle_of_a_sync_and_nothing_is_lost(
    bms: Sandbox, server: postgres.Server, tmp_path: Path, at_call: int
) -> None:
    """The sync waits for it, or ends with an error that names it; the same command again ends right."""
    shared = lake.new_lake(tmp_path / "lake", server.port)
    with running_passportal(tmp_path / "passportal", bms.folder) as service, ExitStack() as stack:
        home = Home(tmp_path / "home", bms, {**shared, "PASSPORTAL_UNKNOWN_SECONDS": "2"}, service, has_lake=False)
        command = [sys.executable, "-m", "bms_pipeline.cli", *COMMAND]
        options: dict[str, Any] = {"env": home.environment, "cwd": home.folder, "text": True}
        run = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options))
        while run.poll() is None and sum(service.calls().values()) < at_call:
            time.sleep(0.05)
        assert run.poll() is None, "it ended before PostgreSQL stopped"
        server.stop("fast")
        time.sleep(3)
        server.start()
        output, errors = run.communicate(timeout=700)
        assert "Traceback" not in errors
        assert lake.PASSWORD not in output + errors
        assert run.returncode == 0 or "PostgreSQL" in errors, errors
        print(f"the run ended with {run.returncode}: {errors[-300:]}")
        for _ in range(3):
            again = home.run(*COMMAND, timeout=700)
            if again.returncode == 0:
                break
        assert again.returncode == 0, again.stderr
        assert home.settle()
        assert home.run("sync", timeout=700).returncode == 0
        assert home.warehouse(UNKNOWN) == [(0,)]
        assert home.passportal(TWICE) == []
        assert home.run("preview", timeout=700).returncode == 0
