"""The warehouse in a lake: no disk is shared, and still nobody overwrites what another run wrote."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from bms_pipeline import frames
from bms_pipeline.console.read_replica import ReadCopy
from bms_pipeline.core.errors import (
    RunLocked,
    SettingsError,
    StorageFull,
    WarehouseBusy,
    WarehouseError,
    WarehouseUnreachable,
)
from bms_pipeline.core.run_status import RunName
from bms_pipeline.core.settings import Settings, read_settings
from bms_pipeline.reconcile.sync_settings import read_sync_settings
from bms_pipeline.reports import metrics
from bms_pipeline.sync import recovery, run_lock
from bms_pipeline.warehouse import lease, schema
from bms_pipeline.warehouse.connection import Warehouse, now, open_warehouse
from bms_pipeline_tests import lake
from bms_pipeline_tests.bucket import Bucket, running_bucket, why_no_bucket
from bms_pipeline_tests.running import quick_and_soak

pytestmark = pytest.mark.skipif(bool(lake.why_no_lake()), reason=lake.why_no_lake())
ROOT = Path(__file__).parents[2]


def settings_of(home: Path, environment: dict[str, str]) -> Settings:
    """Settings of a home folder with the lake of ``environment``."""
    values = {name.lower(): value for name, value in environment.items()}
    return Settings(_env_file=None, bms_pipeline_home=home, bms_pipeline_wait_seconds=10, **values)  # type: ignore[call-arg, arg-type]


@pytest.fixture
def shared(tmp_path: Path) -> dict[str, str]:
    """A new lake for any number of home folders."""
    return lake.new_lake(tmp_path / "lake")


@pytest.fixture
def homes(tmp_path: Path, shared: dict[str, str]) -> Iterator[tuple[Warehouse, Warehouse]]:
    """Two home folders that share nothing but PostgreSQL and the folder of the lake."""
    found = [open_warehouse(settings_of(tmp_path / name, shared)) for name in ("one", "another")]
    yield found[0], found[1]
    for warehouse in found:
        lease.give_back(warehouse.file)
        warehouse.detach()  # type: ignore[attr-defined]


def test_what_one_home_commits_another_one_reads(homes: tuple[Warehouse, Warehouse]) -> None:
    one, another = homes
    before = another.state()
    with one.transaction() as connection:
        connection.execute("INSERT INTO sync.exclusions (entity, bms_id) VALUES ('users', 1)")
    assert another.state() != before
    for reading in (another.open, another.read_only, another.trial):
        with reading() as connection:
            assert connection.execute("SELECT bms_id FROM sync.exclusions").fetchall() == [(1,)]
    assert not one.file.exists()


def test_a_transaction_that_fails_and_a_trial_leave_nothing(homes: tuple[Warehouse, Warehouse]) -> None:
    one, another = homes
    with pytest.raises(ZeroDivisionError), one.transaction() as connection:  # noqa: PT012  # it fails at its end
        connection.execute("INSERT INTO sync.exclusions (entity, bms_id) SELECT 'users', range FROM range(1000)")
        1 / 0  # noqa: B018
    with one.trial() as connection:
        connection.execute("INSERT INTO sync.exclusions (entity, bms_id) SELECT 'users', range FROM range(1000)")
    with another.read_only() as connection:
        assert connection.execute("SELECT count(*) FROM sync.exclusions").fetchall() == [(0,)]
        with pytest.raises(Exception, match="read-only"):
            connection.execute("DELETE FROM sync.exclusions")


# The fence


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("races", quick_and_soak([20], [200]))
def test_of_two_overlapping_transactions_of_an_old_and_a_new_run_one_is_refused(
    homes: tuple[Warehouse, Warehouse], races: int
) -> None:
    """Both have read that they may write; both commit at the same moment: the write skew that reading cannot see."""
    holder, taker = homes
    with holder.transaction() as connection:
        lease.take(connection, holder.file, RunName("the first run"), now())
    ended: Counter[tuple[bool, bool]] = Counter()
    for race in range(races):
        both = threading.Barrier(2)
        committed = [False, False]

        def old_run_writes(
            race: int = race,
            both: threading.Barrier = both,
            committed: list[bool] = committed,
            holder: Warehouse = holder,
        ) -> None:
            with contextlib.suppress(RunLocked, WarehouseBusy), holder.transaction() as connection:
                connection.execute("INSERT INTO sync.exclusions (entity, bms_id) VALUES ('users', ?)", [race])
                both.wait(60)
            with holder.read_only() as connection:
                row = connection.execute("SELECT count(*) FROM sync.exclusions WHERE bms_id = ?", [race]).fetchone()
            committed[0] = row == (1,)

        def new_run_takes_the_lease(
            race: int = race,
            both: threading.Barrier = both,
            committed: list[bool] = committed,
            taker: Warehouse = taker,
        ) -> None:
            with contextlib.suppress(RunLocked, WarehouseBusy):
                with taker.transaction() as connection:
                    lease.take(connection, taker.file, RunName(f"run {race}"), now())
                    both.wait(60)
                committed[1] = True

        threads = [threading.Thread(target=run) for run in (old_run_writes, new_run_takes_the_lease)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        ended[committed[0], committed[1]] += 1
        if committed[1]:
            with pytest.raises(RunLocked, match="took over"), holder.transaction() as connection:
                connection.execute("INSERT INTO sync.exclusions (entity, bms_id) VALUES ('users', -1)")
            lease.give_back(holder.file)
            holder, taker = taker, holder
        else:
            lease.give_back(taker.file)
    print(f"old run committed, new run committed: {dict(ended)}")
    assert ended[True, True] == 0
    assert ended[False, False] == 0
    assert ended.total() == races


def test_a_replaced_run_sends_nothing_more_in_the_middle_of_a_portion(homes: tuple[Warehouse, Warehouse]) -> None:
    one, another = homes
    with one.transaction() as connection:
        lease.take(connection, one.file, RunName("the first run"), now())
    with one.begin_portion(1) as calls:
        calls.mark([1], now())
        with another.transaction() as connection:
            lease.take(connection, another.file, RunName("the second run"), now())
        with pytest.raises(RunLocked, match=r"the second run .* took over"):
            calls.mark([2], now())


def test_a_run_that_takes_over_counts_the_open_writes_of_another_home_from_now(
    homes: tuple[Warehouse, Warehouse],
) -> None:
    """When their calls left is in the file of the other home, so an old intent proves nothing about them."""
    one, another = homes
    long_ago = now().replace(year=2020)
    with one.transaction() as connection:
        connection.execute(
            "INSERT INTO sync.journal (plan_id, entity, bms_id, operation, intent_at, portion) VALUES"
            " (1, 'contacts', 5, 'create', $at, 7), (1, 'contacts', 6, 'create', $at, 8)",
            {"at": long_ago},
        )
    with another.open(), another.begin_portion(8):
        pass
    began = now()
    another.take_over()
    with one.read_only() as connection:
        rows = dict(connection.execute("SELECT portion, left_at FROM sync.journal WHERE outcome IS NULL").fetchall())
    assert rows[7] >= began


# The first start


def test_any_number_of_processes_start_at_once_on_an_empty_catalog(tmp_path: Path, shared: dict[str, str]) -> None:
    state = shared["BMS_PIPELINE_STATE"].rpartition("/")[0]
    lake.execute(int(state.rpartition(":")[2]), f"CREATE DATABASE empty_{os.getpid()}")
    code = (
        "import sys\nfrom bms_pipeline.core.settings import read_settings\n"
        "from bms_pipeline.warehouse.connection import open_warehouse\n"
        "with open_warehouse(read_settings()).transaction() as connection:\n"
        "    connection.execute('INSERT INTO sync.facts (name, value) VALUES (?, ?)', [sys.argv[1], 'x'])\n"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "BMS_PIPELINE_STATE": f"{state}/empty_{os.getpid()}",
        "BMS_PIPELINE_LAKE": str(tmp_path / "new lake"),
        "BMS_PIPELINE_NAME": "acme",
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(number)],
            env={**environment, "BMS_PIPELINE_HOME": str(tmp_path / f"home {number}")},
            cwd=tmp_path,
            stderr=subprocess.PIPE,
        )
        for number in range(4)
    ]
    ended = [process.communicate(timeout=180)[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, ended
    values = {"BMS_PIPELINE_STATE": environment["BMS_PIPELINE_STATE"], "BMS_PIPELINE_LAKE": str(tmp_path / "new lake")}
    warehouse = open_warehouse(settings_of(tmp_path / "home 0", {**values, "BMS_PIPELINE_NAME": "acme"}))
    made = len(schema.migrations())
    with warehouse.read_only() as connection:
        assert connection.execute("SELECT count(*), count(DISTINCT number) FROM main.migrations").fetchall() == [
            (made, made)
        ]
        assert connection.execute("SELECT count(*) FROM sync.facts").fetchall() == [(4,)]
    of_another_tenant = open_warehouse(settings_of(tmp_path / "home 0", {**values, "BMS_PIPELINE_NAME": "other"}))
    with pytest.raises(WarehouseError, match="nothing was read"), of_another_tenant.read_only():
        raise AssertionError


# What a person may set wrongly


@pytest.mark.parametrize("given", ["BMS_PIPELINE_STATE", "BMS_PIPELINE_LAKE"])
def test_one_of_the_two_settings_alone_is_refused(
    given: str, shared: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(given, shared[given])
    (other,) = shared.keys() - {given}
    with pytest.raises(SettingsError, match=other):
        read_settings()


@pytest.mark.parametrize("state", ["postgresql://dagster:{password}@127.0.0.1:1/dagster", "postgres//{password}=x y"])
def test_a_postgres_that_cannot_be_reached_is_named_without_the_password(tmp_path: Path, state: str) -> None:
    address = state.format(password=lake.PASSWORD)
    settings = settings_of(tmp_path, {"BMS_PIPELINE_STATE": address, "BMS_PIPELINE_LAKE": str(tmp_path / "lake")})
    warehouse = open_warehouse(settings.model_copy(update={"bms_pipeline_wait_seconds": 0.5}))
    with pytest.raises((WarehouseUnreachable, SettingsError)) as refused, warehouse.open():
        raise AssertionError
    assert lake.PASSWORD not in str(refused.getrepr(chain=True, showlocals=False))
    assert refused.value.next_step


def test_a_run_in_a_lake_makes_no_copies_next_to_it(tmp_path: Path, shared: dict[str, str]) -> None:
    settings = settings_of(tmp_path / "home", shared)
    with run_lock.running(settings), open_warehouse(settings).transaction() as connection:
        connection.execute("INSERT INTO sync.exclusions (entity, bms_id) VALUES ('users', 1)")
    assert not (tmp_path / "home" / "decisions.log").exists()
    assert list((tmp_path / "home").rglob("*.duckdb")) == []


def test_a_new_lake_may_begin_after_a_loss_and_one_that_loaded_anything_is_kept(
    tmp_path: Path, shared: dict[str, str]
) -> None:
    settings = settings_of(tmp_path / "home", shared)
    assert recovery.rebuild(settings) == []
    with open_warehouse(settings).transaction() as connection:
        assert read_sync_settings(connection).is_rebuilding
        connection.execute(
            "INSERT INTO sync.journal (plan_id, entity, bms_id, operation) VALUES (1, 'users', 1, 'create')"
        )
    with pytest.raises(WarehouseError, match="Nothing was changed"):
        recovery.rebuild(settings)


def test_where_the_folder_of_a_lake_is_full_the_error_names_it(homes: tuple[Warehouse, Warehouse]) -> None:
    """A file size limit stands for the full disk: the same error, from the same system calls, without a mount."""
    one, _ = homes
    with one.open():
        pass  # it is made by now
    _, most = limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(StorageFull) as full, one.transaction() as connection:  # noqa: PT012  # it fails as it is written
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, most))
        try:
            connection.execute("INSERT INTO sync.exclusions (entity, bms_id) SELECT 'users', range FROM range(9000)")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "/lake/bms_lake/sync/exclusions/" in str(full.value)
    with one.open() as connection:
        assert connection.execute("SELECT count(*) FROM sync.exclusions").fetchall() == [(0,)]


# Reading


def test_the_console_follows_the_lake_and_keeps_nobody_out(homes: tuple[Warehouse, Warehouse], tmp_path: Path) -> None:
    one, another = homes
    copy = ReadCopy(tmp_path / "console_1.duckdb")
    try:
        for number in (1, 2):
            with one.transaction() as connection:
                connection.execute("INSERT INTO sync.exclusions (entity, bms_id) VALUES ('users', ?)", [number])
            assert copy.is_behind(another)
            copy.renew(another)
            assert not copy.is_behind(another)
            with copy.open() as connection:
                assert connection.execute("SELECT count(*) FROM sync.exclusions").fetchall() == [(number,)]
        assert copy.generation == 2
    finally:
        copy.close()


def test_frames_and_metrics_read_the_lake(
    tmp_path: Path, shared: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in shared.items():
        monkeypatch.setenv(name, value)
    with open_warehouse(settings_of(tmp_path / "one", shared)).transaction() as connection:
        connection.execute("INSERT INTO sync.exclusions (entity, bms_id) VALUES ('users', 7)")
    assert list(frames.exclusions(tmp_path / "home").bms_id) == [7]
    with open_warehouse(settings_of(tmp_path / "home", shared)).read_only() as connection:
        assert metrics.warehouse_samples(connection)


# A bucket


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    """A bucket whose stand-in checks keys and rights."""
    if why := why_no_bucket():
        pytest.skip(why)
    with running_bucket() as bucket:
        yield bucket


def test_the_data_may_lie_in_a_bucket(tmp_path: Path, shared: dict[str, str], bucket: Bucket) -> None:
    given = {**shared, **bucket.environment(), "BMS_PIPELINE_NAME": "bucket"}
    one, another = (open_warehouse(settings_of(tmp_path / name, given)) for name in ("one", "another"))
    with one.transaction() as connection:
        connection.execute("INSERT INTO sync.exclusions (entity, bms_id) SELECT 'users', range FROM range(500)")
    with one.transaction() as connection:
        connection.execute("DELETE FROM sync.exclusions WHERE bms_id < 100")
    with another.read_only() as connection:
        assert connection.execute("SELECT count(*) FROM sync.exclusions").fetchall() == [(400,)]
    before = {name for name in bucket.objects() if name.startswith("msp/bms_lake_bucket/")}
    assert [name for name in before if name.startswith("msp/bms_lake_bucket/sync/exclusions/")]
    assert one.maintain(now()) is not None
    assert before <= bucket.objects(), "an earlier state may still be read"
    with one.transaction() as connection:
        connection.execute("DELETE FROM sync.exclusions")
    assert one.maintain(now() + timedelta(days=30)) is not None
    assert before - bucket.objects(), "files that nothing needs any more are removed from the bucket, too"


@pytest.mark.parametrize(
    "wrong",
    [
        {"AWS_SECRET_ACCESS_KEY": "-".join(("another", "secret"))},
        {"AWS_ACCESS_KEY_ID": "AKIAANOTHER"},
        {"BMS_PIPELINE_LAKE": "s3://another/msp"},
        {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_bucket_that_refuses_or_does_not_answer_is_named_and_no_secret_is(
    tmp_path: Path, shared: dict[str, str], bucket: Bucket, wrong: dict[str, str]
) -> None:
    given = {**shared, **bucket.environment(), **wrong}
    warehouse = open_warehouse(settings_of(tmp_path, {**given, "BMS_PIPELINE_NAME": "wrong"}))
    with pytest.raises(WarehouseUnreachable) as refused, warehouse.transaction() as connection:
        connection.execute("INSERT INTO sync.exclusions (entity, bms_id) SELECT 'users', range FROM range(500)")
    assert given["BMS_PIPELINE_LAKE"] in str(refused.value)
    assert ("AWS_" in refused.value.next_step) == ("AWS_ENDPOINT_URL_S3" not in wrong), "a service may come back"
    assert given["AWS_SECRET_ACCESS_KEY"] not in str(refused.getrepr(chain=True, showlocals=False))


def test_the_keys_of_a_bucket_may_stand_in_the_file_of_settings(
    tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    secret = tmp_path / "secret"
    secret.write_text(bucket.secret)
    secret.chmod(0o600)
    given = {**lake.new_lake(tmp_path / "lake"), **bucket.environment(), "BMS_PIPELINE_NAME": "file"}
    given["BMS_PIPELINE_HOME"], given["AWS_SECRET_ACCESS_KEY_FILE"] = str(tmp_path / "home"), str(secret)
    del given["AWS_SECRET_ACCESS_KEY"]
    env_file = tmp_path / ".env"
    env_file.write_text("".join(f"{name}={value}\n" for name, value in given.items()))
    env_file.chmod(0o600)
    with open_warehouse(read_settings()).transaction() as connection:
        connection.execute("INSERT INTO sync.exclusions (entity, bms_id) SELECT 'users', range FROM range(500)")
    assert [name for name in bucket.objects() if name.startswith("msp/bms_lake_file/sync/exclusions/")]


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"AWS_ACCESS_KEY_ID": ""}, "AWS_ACCESS_KEY_ID"),
        ({"AWS_SECRET_ACCESS_KEY": ""}, "AWS_SECRET_ACCESS_KEY"),
        ({"AWS_ENDPOINT_URL": "http://minio.example.com"}, "https"),
        ({"AWS_ENDPOINT_URL": "minio.example.com"}, "https"),
        ({"BMS_PIPELINE_LAKE": "gs://tenants/msp"}, "s3://BUCKET/PREFIX"),
        ({"BMS_PIPELINE_LAKE": "s3://"}, "s3://BUCKET/PREFIX"),
    ],
)
def test_settings_with_which_no_bucket_can_be_written_are_refused_before_anything_begins(
    shared: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, str], named: str
) -> None:
    monkeypatch.chdir(tmp_path)
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "BMS_PIPELINE_LAKE": "s3://tenants/msp"}
    for name, value in {**shared, **keys, **wrong}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=named):
        open_warehouse(read_settings())
    assert [path.name for path in tmp_path.iterdir()] == ["lake"], "no folder is made under the name of a bucket"
