"""The names of a tenant in Dagster: as in version 0.5 without a name, and never those of another tenant with one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from hypothesis import given
from hypothesis import strategies as st

from bms_pipeline.core.errors import SettingsError
from bms_pipeline.core.settings import LONGEST_NAME, Settings, read_schedule_settings, read_settings
from bms_pipeline.defs import names, schedules
from bms_pipeline_tests.defs.naming import names_of

FORMER = json.loads(Path(__file__).with_name("names_of_0_5.json").read_text(encoding="utf-8"))
_READS = {"bms_pipeline/stage": "1_read"}
FORMER["jobs"]["doctor"] = {"assets": [], "tags": _READS, "run tags": _READS}  # the only job since then
FORMER["checks"] = sorted([*FORMER["checks"], "bms_clients:doctor", "passportal_clients:doctor"])  # and its checks
FORMER_TAGS = "bms_pipeline/"


def renamed(former: Mapping[str, Any], tenant: str) -> dict[str, Any]:
    """Return the names that a tenant called ``tenant`` has, worked out from those of version 0.5."""

    def key(name: str) -> str:
        return f"{tenant}/{name}"

    def tags(found: Mapping[str, str]) -> dict[str, str]:
        ours = {f"{tenant}.{tag}" if tag.startswith(FORMER_TAGS) else tag: text for tag, text in found.items()}
        return {**ours, names.TENANT_TAG: tenant} if ours != found else ours

    assets = {
        key(name): {
            **asset,
            "group": f"{tenant}_{asset['group']}",
            "parents": [key(parent) for parent in asset["parents"]],
            "pools": [f"{tenant}_{pool}" for pool in asset["pools"]],
            "partitions": asset["partitions"] and f"{tenant}_{asset['partitions']}",
        }
        for name, asset in former["assets"].items()
    }
    jobs = {
        name: {
            "tags": tags(job["tags"]),
            "run tags": tags(job["run tags"]),
            "assets": [key(asset) for asset in job["assets"]],
        }
        for name, job in former["jobs"].items()
    }
    return {**former, "assets": assets, "checks": [key(check) for check in former["checks"]], "jobs": jobs}


def loaded_as(tenant: str, folder: Path) -> dict[str, Any]:
    loaded = names_of(tenant, folder)
    assert loaded.returncode == 0, loaded.stderr[-2000:]
    return dict(json.loads(loaded.stdout))


def test_without_a_name_every_name_is_that_of_version_0_5(tmp_path: Path) -> None:
    assert loaded_as("", tmp_path) == FORMER


def test_with_a_name_every_name_that_tenants_could_share_begins_with_it(tmp_path: Path) -> None:
    assert loaded_as("acme", tmp_path) == renamed(FORMER, "acme")


def test_two_tenants_have_no_asset_pool_group_partition_or_tag_in_common(tmp_path: Path) -> None:
    def all_of(found: Mapping[str, Any]) -> set[str]:
        assets = found["assets"]
        shared = {asset[what] for asset in assets.values() for what in ("group", "partitions")}
        pools = {pool for asset in assets.values() for pool in asset["pools"]}
        tags = {tag for job in found["jobs"].values() for tag in job["run tags"]} - {names.TENANT_TAG}
        return {*assets, *found["checks"], *shared, *pools, *tags} - {None}

    acme, beta = loaded_as("acme", tmp_path), loaded_as("acme_2", tmp_path)
    assert not all_of(acme) & all_of(beta)
    assert acme["jobs"].keys() == beta["jobs"].keys() == FORMER["jobs"].keys()


@pytest.mark.parametrize("tenant", ["X" * LONGEST_NAME, "7", "class"])
def test_dagster_takes_every_name_that_the_settings_take(tenant: str, tmp_path: Path) -> None:
    assert loaded_as(tenant, tmp_path) == renamed(FORMER, tenant)


@pytest.mark.parametrize("name", ["a-b", "a b", "a/b", "a.b", "é", "٣", "a\u200b", "X" * (LONGEST_NAME + 1), "${A}"])
def test_another_name_is_refused_with_the_rule(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BMS_PIPELINE_NAME", name)
    with pytest.raises(
        SettingsError, match=r"BMS_PIPELINE_NAME \(the environment\).*only letters from A to Z, digits and _"
    ):
        read_schedule_settings(None)


def test_dagster_does_not_load_under_another_name(tmp_path: Path) -> None:
    loaded = names_of("a-b", tmp_path)
    assert loaded.returncode != 0
    assert "BMS_PIPELINE_NAME (the environment)" in loaded.stderr


@pytest.mark.explores
@given(name=st.text(max_size=50).filter(lambda text: "\0" not in text and text.isprintable()))
def test_a_name_is_taken_by_both_kinds_of_settings_or_by_none(name: str) -> None:
    def taken(read: Any) -> str | None:
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("BMS_PIPELINE_NAME", name)
            try:
                return str(read(None).bms_pipeline_name)
            except SettingsError:
                return None

    assert taken(read_settings) == taken(read_schedule_settings)
    fits = len(name) <= LONGEST_NAME and all(
        letter.isascii() and (letter.isalnum() or letter == "_") for letter in name
    )
    assert taken(read_settings) == (name if fits else None)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def tenant(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make the process the one of this tenant."""
    name = str(request.param)
    monkeypatch.setattr(names, "TENANT", name)
    monkeypatch.setattr(names, "LOCATION", name or "bms_pipeline")
    return name


def started(instance: dg.DagsterInstance, location: str, tags: Mapping[str, str]) -> None:
    """Let a run of ``incremental_sync`` be at work in this code location."""
    origin = RemoteJobOrigin(
        RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(location), "__repository__"), "incremental_sync"
    )
    run = dg.DagsterRun(
        job_name="incremental_sync", status=dg.DagsterRunStatus.STARTED, tags=dict(tags), remote_job_origin=origin
    )
    instance.add_run(run)


@pytest.mark.parametrize(
    ("tenant", "location", "tags", "ours"),
    [
        ("acme", "acme", {names.TENANT_TAG: "acme"}, True),
        ("acme", "another_name", {names.TENANT_TAG: "acme"}, True),
        ("acme", "acme", {}, True),  # a person took the tags off in the launchpad
        ("acme", "beta", {names.TENANT_TAG: "beta"}, False),
        ("acme", "beta", {}, False),
        ("", "bms_pipeline", {}, True),
        ("", "acme", {names.TENANT_TAG: "acme"}, False),
    ],
    indirect=["tenant"],
)
def test_only_a_sync_of_the_same_tenant_keeps_the_schedule_waiting(
    tenant: str, location: str, tags: dict[str, str], ours: bool, instance: dg.DagsterInstance
) -> None:
    started(instance, location, tags)
    assert schedules.unfinished(instance, "incremental_sync", "initial_sync") == int(ours)


@pytest.mark.parametrize("tenant", ["acme"], indirect=True)
def test_links_lead_into_the_tenants_own_location_and_assets(tenant: str) -> None:
    from bms_pipeline.defs import links

    assert links.launchpad("finish") == "/locations/acme/jobs/finish/playground"
    assert links.asset_link("sync_plan") == "[sync_plan](/assets/acme/sync_plan)"


def test_the_name_does_not_change_the_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A home of 0.5 becomes the one of a named tenant as it is."""
    monkeypatch.setenv("BMS_PIPELINE_HOME", str(tmp_path))
    plain: Settings = read_settings(None)
    monkeypatch.setenv("BMS_PIPELINE_NAME", "acme")
    assert read_settings(None) == plain.model_copy(update={"bms_pipeline_name": "acme"})
