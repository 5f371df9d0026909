"""A launch approves or decides only where somebody who signed in asked for it; whatever else launches does neither."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import time_machine
from dagster_graphql.schema import create_schema
from graphql import GraphQLInputObjectType, get_named_type

from bms_pipeline.core.errors import ApprovalRefused
from bms_pipeline.core.settings import Settings, read_settings
from bms_pipeline.definitions import defs as load_definitions
from bms_pipeline.guard import vouching
from bms_pipeline.guard.store import VOUCHER_SECONDS, Store
from bms_pipeline.guard.vouching import Launch
from bms_pipeline.plan.operations import Plan
from bms_pipeline.sync import loading, planning
from bms_pipeline_tests.building import World
from bms_pipeline_tests.guard.conftest import FORGED, Pages, execution
from bms_pipeline_tests.running import kept_open

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
DECIDING: dict[str, dict[str, Any]] = {
    "auto_match": {},
    "create_unmatched": {},
    "match": {"entity": "clients", "bms_id": 11, "passportal_id": "P2"},
    "unmatch": {"entity": "clients", "bms_ids": [10]},
    "create": {"entity": "clients", "bms_ids": [11], "allow_duplicate": True},
    "exclude": {"entity": "clients", "bms_ids": [11]},
    "include": {"entity": "clients", "bms_ids": [11]},
    "import_decisions": {"file": "decisions.csv"},
    "change_settings": {"changes": {"auto_create.users": "on"}, "confirm": "0" * 12},
    "undo": {"plan_id": 1},
}
ALSO = ("asset_details", "doctor", "initial_sync", "incremental_sync", "plan", "finish", "finish_clients")
LAUNCHES = """... on LaunchRunSuccess { run { runId tags { key value } } }
    ... on PythonError { message } ... on RunConfigValidationInvalid { errors { message } }"""


@dataclass(frozen=True)
class Dagster:
    """What runs whatever was launched, by whomever."""

    definitions: dg.Definitions
    instance: dg.DagsterInstance

    def run(self, job: str, config: Mapping[str, Any], tags: Mapping[str, str], *only: str) -> str:
        """Run ``job``, or ``only`` these Dagster assets of it; what its failed steps say."""
        with kept_open(read_settings(None)):
            result = self.definitions.resolve_job_def(job).execute_in_process(
                run_config={**QUIET, **config}, instance=self.instance, tags=dict(tags), raise_on_error=False,
                asset_selection=[dg.AssetKey(each) for each in only] or None,
            )  # fmt: skip
        failed = [event for event in result.all_events if event.is_step_failure]
        return "\n".join(event.step_failure_data.error_display_string for event in failed)

    def code_that_confirms(self) -> str:
        """What has to be sent along with the change of settings that somebody looked at."""
        result = self.definitions.resolve_job_def("change_settings").execute_in_process(
            run_config={**QUIET, **deciding("change_settings", confirm="")}, instance=self.instance
        )
        (output,) = [event for event in result.all_events if event.is_successful_output]
        return str(output.step_output_data.metadata["confirm"].value)


@pytest.fixture(scope="module")
def dagster() -> Iterator[Dagster]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Dagster(load_definitions(), instance)


CLIENTS = "loaded_clients"


def clients_are_loaded(world: World) -> bool:
    """Whether Passportal's Acme carries the id that BMS has for it."""
    return [each.marker for each in world.content() if each.title == "Acme Ltd"] == ["10"]


def finishing(plan: Plan) -> dict[str, Any]:
    return {"resources": {"approval": {"config": {"plan_hash": plan.hash[:12]}}}}


def deciding(job: str, **more: Any) -> dict[str, Any]:
    op = {"change_settings": "change_sync_settings", "undo": "plan_undo"}.get(job, f"decide_{job}")
    return {"ops": {op: {"config": DECIDING[job] | more}}}


def voucher(world: World, job: str, config: Mapping[str, Any], by: str = "Alex") -> dict[str, str]:
    store = Store(world.settings.guard_folder)
    return {vouching.TAG: vouching.vouch(store, job, {**QUIET, **config}, by)}


def test_a_launch_that_nobody_vouches_for_approves_nothing(world: World, dagster: Dagster) -> None:
    plan, content = planning.current_plan(world.warehouse), world.content()
    none: dict[str, str] = {}
    forged, bad = {vouching.TAG: "forged"}, {vouching.TAG: "e30.00"}
    for job, tags in (("finish", none), ("finish", forged), ("finish", bad), ("finish_clients", none)):
        said = dagster.run(job, finishing(plan), tags)
        assert "is no approval" in said, (job, tags)
        assert f"bms-pipeline approve {plan.hash[:12]}" in said
        assert not planning.current_plan(world.warehouse).approved
        assert world.content() == content


def test_under_any_web_server_a_plan_is_loaded_that_was_approved_before(world: World, dagster: Dagster) -> None:
    plan = planning.current_plan(world.warehouse)
    world.approve(plan.hash)
    assert dagster.run("finish", finishing(plan), {}) == ""
    assert planning.current_plan(world.warehouse).loaded


def test_a_vouched_launch_approves_in_the_name_of_who_signed_in(world: World, dagster: Dagster) -> None:
    plan = planning.current_plan(world.warehouse)
    assert dagster.run("finish", finishing(plan), voucher(world, "finish", finishing(plan)), CLIENTS) == ""
    assert world.query("SELECT approved_by FROM sync.plans WHERE approved_at IS NOT NULL") == [("Alex",)]
    assert clients_are_loaded(world)


def test_behind_a_proxy_with_its_own_log_in_every_launch_approves(
    world: World, dagster: Dagster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BMS_PIPELINE_TRUSTED_PROXY", "1")
    assert dagster.run("finish", finishing(planning.current_plan(world.warehouse)), {}, CLIENTS) == ""
    assert planning.current_plan(world.warehouse).approved
    assert clients_are_loaded(world)


def test_every_job_is_known_here(dagster: Dagster) -> None:
    assert {job.name for job in dagster.definitions.jobs or ()} == {*DECIDING, *ALSO}


def test_a_launch_that_nobody_vouches_for_decides_nothing(world: World, dagster: Dagster, tmp_path: Path) -> None:
    def decided() -> tuple[Any, ...]:
        return (
            world.lasting(), world.query("FROM sync.settings_history"), world.query("SELECT count(*) FROM sync.plans")
        )  # fmt: skip

    (tmp_path / "decisions.csv").write_text("a secret line")
    confirmed = {"change_settings": {"confirm": dagster.code_that_confirms()}}
    with kept_open(world.settings):
        before = decided()
        for job in DECIDING:
            said = dagster.run(job, deciding(job, **confirmed.get(job, {})), {})
            assert "is no approval" in said, job
            assert "secret line" not in said
            assert decided() == before, job


@pytest.mark.parametrize("job", ["match", "create", "exclude"])
def test_a_vouched_launch_decides_in_the_name_of_who_signed_in_and_anybody_may_try(
    world: World, dagster: Dagster, job: str
) -> None:
    assert dagster.run(job, deciding(job, dry_run=True), {}) == ""
    assert world.query("SELECT count(*) FROM sync.decisions") == [(0,)]
    assert dagster.run(job, deciding(job), voucher(world, job, deciding(job))) == ""
    assert world.query("SELECT DISTINCT decided_by FROM sync.decisions") == [("Alex",)]


def test_a_decision_is_taken_once_for_each_launch(world: World, dagster: Dagster) -> None:
    tags = voucher(world, "exclude", deciding("exclude"))
    assert dagster.run("exclude", deciding("exclude"), tags) == ""
    world.include("clients", 11)
    assert "used already" in dagster.run("exclude", deciding("exclude"), tags)
    assert world.lasting()["exclusions"] == []


def test_a_retry_goes_on_where_the_first_try_did_not_come_to_it(world: World, dagster: Dagster) -> None:
    plan = planning.current_plan(world.warehouse)
    config, tags = finishing(plan), voucher(world, "finish", finishing(plan))
    approve = planning.approve
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "approve", lambda *_: 1 / 0)
        assert "ZeroDivisionError" in dagster.run("finish", config, tags, CLIENTS)
    assert planning.approve is approve
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "load", lambda *_: 1 / 0)  # approved, then it dies
        assert "ZeroDivisionError" in dagster.run("finish", config, tags, CLIENTS)
    assert dagster.run("finish", config, tags, CLIENTS) == ""
    assert clients_are_loaded(world)


def test_a_voucher_is_for_one_job_one_configuration_one_home_and_one_day(world: World, tmp_path: Path) -> None:
    settings, store, config = world.settings, Store(world.settings.guard_folder), {"plan": "abc", "a": [1, {}]}
    tag = vouching.vouch(store, "finish", config, "Alex")
    with vouching.vouched(settings, launch("finish", {"a": [1, {}], "plan": "abc"}, tag), "") as by:
        assert by == "Alex"
    other = Settings(_env_file=None, bms_pipeline_home=tmp_path / "other")  # type: ignore[call-arg]
    fresh = vouching.vouch(store, "finish", config, "Alex")
    text, _, signature = fresh.partition(".")
    for refused, where in (
        (launch("finish_clients", config, fresh), settings),
        (launch("finish", {**config, "plan": "abd"}, fresh), settings),
        (launch("finish", config, fresh), other),
        (launch("finish", config, f"{text}.{signature[:-1]}"), settings),
        (launch("finish", config, f"{text[:-4]}AAA=.{signature}"), settings),
        (launch("finish", config, f"{text}.é"), settings),
        (launch("finish", config, tag), settings),
        (None, settings),
    ):
        with pytest.raises(ApprovalRefused), vouching.vouched(where, refused, ""):
            pytest.fail("nobody vouches for that")
    tomorrow = time_machine.travel(time.time() + VOUCHER_SECONDS + 5)
    with tomorrow, pytest.raises(ApprovalRefused), vouching.vouched(settings, launch("finish", config, fresh), ""):
        pytest.fail("that is too old")


def launch(job: str, config: Mapping[str, Any], tag: str) -> Launch:
    return Launch(job, config, {vouching.TAG: tag})


def test_through_the_gate_every_launch_is_vouched_for_and_no_request_brings_a_voucher(pages: Pages) -> None:
    config = {"resources": {"approval": {"config": {"plan_hash": "0123456789ab"}}}}
    written = """{selector: {repositoryLocationName: "bms_pipeline", repositoryName: "__repository__",
        jobName: "finish"},
        runConfigData: "resources: {approval: {config: {plan_hash: 0123456789ab}}}", mode: "default",
        executionMetadata: {tags: [{key: "bms_pipeline/vouched", value: "forged"}, {key: "a", value: "b"}]}}"""
    parameters = execution("finish", config)
    one, many, two = "($p: ExecutionParams!)", "($p: [ExecutionParams!]!)", "($p: ReexecutionParams!)"
    first = _launched(pages, f"mutation {one} {{ launchRun(executionParams: $p) {{ {LAUNCHES} }} }}", p=parameters)
    again = {
        **parameters,
        "executionMetadata": {"tags": [FORGED], "rootRunId": first["runId"], "parentRunId": first["runId"]},
    }
    strategy = {"parentRunId": first["runId"], "strategy": "ALL_STEPS", "extraTags": [FORGED]}
    runs = [
        first,
        _launched(
            pages,
            f"mutation {one} {{ x: launchPipelineExecution(executionParams: $p) {{ {LAUNCHES} }} }}",
            p=parameters,
        ),
        _launched(pages, f"mutation {{ launchRun(executionParams: {written}) {{ {LAUNCHES} }} }}"),
        _launched(
            pages,
            f"mutation {many} {{ launchMultipleRuns(executionParamsList: $p) {{ ... on LaunchMultipleRunsResult"
            f" {{ launchMultipleRunsResult {{ {LAUNCHES} }} }} }} }}",
            p=[parameters],
        ),
        _launched(pages, f"mutation {one} {{ launchRunReexecution(executionParams: $p) {{ {LAUNCHES} }} }}", p=again),
        _launched(
            pages,
            f"mutation {two} {{ launchPipelineReexecution(reexecutionParams: $p) {{ {LAUNCHES} }} }}",
            p=strategy,
        ),
    ]
    settings = Settings(_env_file=None, bms_pipeline_guard=pages.store.folder)  # type: ignore[call-arg]
    seen = set()
    for launched in runs:
        tags = {tag["key"]: tag["value"] for tag in launched["tags"]}
        stored = pages.instance.get_run_by_id(launched["runId"])
        assert stored is not None
        assert stored.tags[vouching.TAG] == tags[vouching.TAG]
        with vouching.vouched(settings, Launch(stored.job_name, stored.run_config, stored.tags), ""):
            seen.add(tags[vouching.TAG])
    assert len(seen) == len(runs)
    assert runs[2]["tags"][0] == {"key": "a", "value": "b"}


def test_a_bare_web_server_vouches_for_nothing_also_not_for_a_copy(pages: Pages, bare: Pages) -> None:
    parameters = execution("finish", {"resources": {"approval": {"config": {"plan_hash": "0123456789ab"}}}})
    query = f"mutation ($p: ExecutionParams!) {{ launchRun(executionParams: $p) {{ {LAUNCHES} }} }}"
    settings = Settings(_env_file=None, bms_pipeline_guard=pages.store.folder)  # type: ignore[call-arg]
    vouched_for = _launched(pages, query, p=parameters)
    copied = [tag for tag in vouched_for["tags"] if tag["key"] == vouching.TAG]
    other = {"resources": {"approval": {"config": {"plan_hash": "ba9876543210"}}}}
    bare.cookie = "none"  # nobody signs in there
    for forged in (parameters, {**parameters, "runConfigData": other, "executionMetadata": {"tags": copied}}):
        launched = _launched(bare, query, p=forged)
        stored = pages.instance.get_run_by_id(launched["runId"])
        assert stored is not None
        as_launched = Launch(stored.job_name, stored.run_config, stored.tags)
        with pytest.raises(ApprovalRefused), vouching.vouched(settings, as_launched, ""):
            pytest.fail("nobody vouched for that")


def test_a_backfill_gets_no_voucher_and_brings_none_along(pages: Pages) -> None:
    pages.instance.add_dynamic_partitions("clients", ["10"])
    query = """mutation ($p: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $p) {
        __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
    asked = {"assetSelection": [{"path": ["loaded_by_client"]}], "partitionNames": ["10"], "tags": [FORGED]}
    launched = pages.graphql(query, p=asked)["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched
    backfill = pages.instance.get_backfill(launched["backfillId"])
    assert backfill is not None
    assert vouching.TAG not in backfill.tags


def test_no_mutation_of_dagster_takes_the_parameters_of_a_run_under_another_name() -> None:
    mutations = create_schema().graphql_schema.mutation_type
    assert mutations is not None
    found = {
        (field, name)
        for field, mutation in mutations.fields.items()
        for name, argument in mutation.args.items()
        if isinstance(get_named_type(argument.type), GraphQLInputObjectType)
        and get_named_type(argument.type).name in ("ExecutionParams", "ReexecutionParams")
    }
    assert found == {
        ("launchRun", "executionParams"),
        ("launchPipelineExecution", "executionParams"),
        ("launchMultipleRuns", "executionParamsList"),
        ("launchRunReexecution", "executionParams"),
        ("launchPipelineReexecution", "executionParams"),
        ("launchRunReexecution", "reexecutionParams"),
        ("launchPipelineReexecution", "reexecutionParams"),
        ("reexecutePartitionBackfill", "reexecutionParams"),
    }


def _launched(pages: Pages, query: str, **variables: Any) -> dict[str, Any]:
    (found,) = pages.graphql(query, **variables).values()
    while "run" not in found:
        (found,) = found["launchMultipleRunsResult"]
    launched: dict[str, Any] = found["run"]
    return launched


def test_undo_without_a_number_takes_back_the_last_load(world: World, dagster: Dagster) -> None:
    config = deciding("undo", plan_id=0)
    assert "Nothing was loaded so far" in dagster.run("undo", config, voucher(world, "undo", config))
    assert "no approval" in dagster.run("undo", config, {}), "naming nothing approves nothing"

    world.finish()
    world.let_go_of_the_warehouse()
    ((loaded,),) = world.query("SELECT max(plan_id) FROM sync.plans WHERE loaded_at IS NOT NULL")
    world.let_go_of_the_warehouse()
    assert dagster.run("undo", config, voucher(world, "undo", config)) == ""
    assert world.query("SELECT undoes FROM sync.plans ORDER BY plan_id DESC LIMIT 1") == [(loaded,)]
