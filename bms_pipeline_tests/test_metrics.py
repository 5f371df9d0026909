"""`bms-pipeline metrics` and the text that Prometheus reads; its own parser judges the text."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from bms_pipeline.core.entities import ENTITIES, LIST_CALLS
from bms_pipeline.core.vocabulary import Count, Disposition
from bms_pipeline.plan.standings import Standing
from bms_pipeline.reports import metrics
from bms_pipeline.warehouse.connection import open_warehouse
from bms_pipeline_tests.running import Home, running_home

Found = dict[str, dict[tuple[tuple[str, str], ...], float]]
"""Metric → labels → value."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A small tenant after its first sync."""
    with running_home(tmp_path_factory.mktemp("metrics")) as found:
        synced = found.call("sync", "--create-unmatched")
        assert synced.returncode in (0, 2), synced.stderr
        found.keeps_open = False
        yield found


def parsed(text: str) -> Found:
    """What Prometheus understands of ``text``."""
    found: Found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            assert labels not in found.setdefault(sample.name, {}), "no sample twice"
            found[sample.name][labels] = sample.value
    return found


def printed(home: Home, **environment: str) -> Found:
    result = home.call("metrics", **environment)
    assert result.returncode == 0, result.stderr
    return parsed(result.stdout)


def value(found: Found, name: str, **labels: str) -> float:
    return found[f"bms_pipeline_{name}"][tuple(sorted(labels.items()))]


def test_every_metric_is_declared_documented_and_there_after_a_sync(home: Home) -> None:
    result = home.call("metrics")
    families = {family.name: family for family in text_string_to_metric_families(result.stdout)}
    declared = {metric.full_name.removesuffix("_total"): metric for metric in metrics.METRICS}
    assert families.keys() == declared.keys()
    for name, family in families.items():
        assert family.type == declared[name].kind
        assert family.documentation == declared[name].help
        assert {tuple(sample.labels) for sample in family.samples} == {declared[name].labels}


def test_the_numbers_are_those_of_status(home: Home) -> None:
    status, found = home.status(), printed(home)
    for entity in ENTITIES:
        for standing in Standing:
            assert (
                value(found, "records", entity=entity.name, standing=standing)
                == status["standings"][entity.name][standing]
            )
        for count in Count:
            assert (
                value(found, "last_sync_records", entity=entity.name, outcome=count)
                == status["entities"][entity.name][count]
            )
        waiting = [status["standings"][entity.name][standing] for standing in ("unmatched", "ambiguous")]
        assert value(found, "waiting_records", entity=entity.name) == sum(waiting)
        assert value(found, "failed_records", entity=entity.name) == status["standings"][entity.name]["refused"]
        assert value(found, "orphaned_records", entity=entity.name) == status["entities"][entity.name]["orphaned"]
        assert {dict(labels)["disposition"] for labels in found["bms_pipeline_dispositions"]} <= {*Disposition}
    for list_call in LIST_CALLS:
        calls = status["budget"][f"GET {list_call.path}"]
        assert value(found, "calls_left", list=list_call.name) == calls["left"]
        assert value(found, "calls_limit", list=list_call.name) == calls["limit"]
    assert value(found, "initial_sync_finished") == status["initial_sync_finished"]


def test_a_success_is_a_run_that_read_bms_and_ended_without_an_error(home: Home) -> None:
    before = printed(home)
    ((client,),) = home.warehouse("SELECT min(bms_id) FROM bms.clients")
    assert home.call("exclude", "clients", str(client)).returncode == 0
    decided = printed(home)
    assert (
        decided["bms_pipeline_last_success_timestamp_seconds"] == before["bms_pipeline_last_success_timestamp_seconds"]
    )
    assert home.call("include", "clients", str(client)).returncode == 0
    home.sandbox.behave(faults=[{"route": "employees", "kind": "html"}])
    assert home.call("sync", "--full").returncode == 1
    failed = printed(home)
    assert (
        failed["bms_pipeline_last_success_timestamp_seconds"] == before["bms_pipeline_last_success_timestamp_seconds"]
    )
    assert value(failed, "last_run_succeeded") == 0
    assert value(failed, "runs_total", result="failed") == value(before, "runs_total", result="failed") + 1
    home.sandbox.behave(faults=[])
    assert home.call("sync").returncode in (0, 2)
    again = printed(home)
    assert value(again, "last_success_timestamp_seconds") > value(before, "last_success_timestamp_seconds")
    assert value(again, "last_run_succeeded") == 1


def test_a_sync_with_nothing_new_is_a_success_too(home: Home) -> None:
    before = printed(home)
    assert home.call("sync", "--incremental").returncode in (0, 2)
    assert value(printed(home), "last_success_timestamp_seconds") > value(before, "last_success_timestamp_seconds")


def test_a_success_in_the_future_counts_as_now(home: Home) -> None:
    with open_warehouse(home.settings).open() as connection:
        connection.execute("BEGIN")
        connection.execute("UPDATE sync.runs SET ended_at = ended_at + INTERVAL 1 YEAR WHERE failed_because IS NULL")
        (row,) = connection.execute("SELECT epoch(now()::TIMESTAMPTZ)").fetchall()
        assert abs((metrics.last_success(connection) or 0) - row[0]) < 3600
        connection.execute("ROLLBACK")


def test_a_killed_run_counts_once_another_began(home: Home) -> None:
    begun = (
        "INSERT INTO sync.runs (epoch, label, kind, started_at)"
        " SELECT max(epoch) + 1, 'a run', 'command', now() FROM sync.runs"
    )
    counted = []
    with open_warehouse(home.settings).open() as connection:
        connection.execute("BEGIN")
        for _ in range(3):
            found = parsed(metrics.prometheus_text(metrics.warehouse_samples(connection)))
            counted.append(
                {dict(labels)["result"]: number for labels, number in found["bms_pipeline_runs_total"].items()}
            )
            connection.execute(begun)
        connection.execute("ROLLBACK")
    first, second, third = counted
    assert second == first, "the run at work has no result yet"
    assert third == {**first, "killed": first["killed"] + 1}


def test_a_list_that_was_never_read_to_its_end_has_no_such_moment(home: Home) -> None:
    with open_warehouse(home.settings).open() as connection:
        connection.execute("BEGIN")
        connection.execute("UPDATE sync.sweeps SET complete = false WHERE list_call = 'assets'")
        found = parsed(metrics.prometheus_text(metrics.warehouse_samples(connection)))
        connection.execute("ROLLBACK")
    complete, read = (found[f"bms_pipeline_last_{name}timestamp_seconds"] for name in ("complete_read_", "read_"))
    assert {dict(labels)["list"] for labels in read} - {dict(labels)["list"] for labels in complete} == {"assets"}


def test_no_value_of_a_record_is_in_the_text(home: Home) -> None:
    text = home.call("metrics").stdout
    names = [name for entity in ENTITIES for (name,) in home.warehouse(f"SELECT name FROM bms.{entity.name}") if name]
    assert len(names) > 50
    assert [name for name in names if name in text and len(name) > 3] == []
    assert home.environment["BMS_PASSWORD"] not in text
    assert str(home.folder) not in text


def test_a_file_for_node_exporter_is_replaced_at_once_and_readable_for_it(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "bms_pipeline.prom"
    for _ in range(2):
        result = home.call("metrics", "--textfile", str(file))
        assert (result.returncode, result.stdout) == (0, ""), result.stderr
    assert parsed(file.read_text()).keys() == printed(home).keys()
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [file]


def test_what_cannot_be_written_or_read_is_an_error_and_leaves_the_file(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "bms_pipeline.prom"
    file.write_text("as it was\n")
    result = home.call("metrics", "--textfile", str(file), BMS_PIPELINE_HOME=str(tmp_path / "misspelt"))
    assert result.returncode == 1
    assert "does not exist" in result.stderr
    assert not (tmp_path / "misspelt").exists()
    assert file.read_text() == "as it was\n"
    for name in ("bms_pipeline.txt", "no/such/folder.prom"):
        result = home.call("metrics", "--textfile", str(tmp_path / name))
        assert result.returncode == 1
        assert "Next:" in result.stderr
    (tmp_path / "folder.prom").mkdir()
    assert home.call("metrics", "--textfile", str(tmp_path / "folder.prom")).returncode == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bms_pipeline.prom", "folder.prom"]


LABELS = st.text(st.characters(codec="utf-8"), max_size=20)


@given(tenant=LABELS, text=LABELS, number=st.one_of(st.integers(0, 2**53), st.floats(0, 1e12, allow_nan=False)))
def test_every_label_and_value_comes_out_as_it_went_in(tenant: str, text: str, number: float) -> None:
    sample = metrics.Sample(metrics.RECORDS, number, (("entity", text),))
    found = parsed(metrics.prometheus_text([sample], tenant))
    labels = {"entity": text, **({"tenant": tenant} if tenant else {})}
    assert found == {"bms_pipeline_records": {tuple(sorted(labels.items())): number}}


@given(st.text(st.sampled_from('\\"\nn é'), max_size=12))
def test_a_label_is_escaped_as_the_format_says(text: str) -> None:
    """Backslash, quote and line feed, and nothing else: one line whatever the text."""
    (line,) = metrics.prometheus_text([metrics.Sample(metrics.INFO, 1, (("version", text),))]).split("\n")[2:-1]
    inside = line.removeprefix('bms_pipeline_info{version="').removesuffix('"} 1')
    assert inside == text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def test_a_named_tenant_is_a_label_of_each_sample(home: Home) -> None:
    with open_warehouse(home.settings).read_only() as connection:
        samples = metrics.warehouse_samples(connection)
    found = parsed(metrics.prometheus_text(samples, "acme"))
    assert {dict(labels)["tenant"] for by_labels in found.values() for labels in by_labels} == {"acme"}


def test_the_tenants_name_is_that_of_the_settings(home: Home) -> None:
    settings: Any = home.settings
    assert metrics.tenant_of(settings) == getattr(settings, "bms_pipeline_name", "")
