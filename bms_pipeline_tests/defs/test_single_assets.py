"""Every Dagster asset by itself, on every kind of home: it works, or it says at once what to materialize first."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import dagster as dg
import pytest
import yaml

import bms_pipeline
from bms_pipeline.core import errors
from bms_pipeline.core.errors import PipelineError, PlanWaits, StageMissing
from bms_pipeline.defs import links
from bms_pipeline.defs.failures import WORDS, told_to_the_operator
from bms_pipeline_tests.defs.conftest import Pipeline, Run
from bms_pipeline_tests.defs.test_runs import ENTITIES
from bms_pipeline_tests.running import quick_and_soak

READS = [f"{side}_{each}" for side in ("bms", "passportal") for each in ENTITIES]
RECONCILED = [f"reconciled_{each}" for each in ENTITIES]
LOADS = [*(f"loaded_{each}" for each in ENTITIES), "sync_result"]
"""What these do by themselves depends on the plan: see ``test_runs``. ``loaded_by_client`` needs partitions."""

FIRST: dict[str, list[str]] = {
    "bms_asset_details": ["bms_assets", "passportal_assets"],
    "sync_inputs": READS,
    "reconciled_clients": ["bms_clients", "passportal_clients"],
    "reconciled_users": ["bms_users", "passportal_users"],
    "sync_plan": READS,
    **{f"reconciled_{each}": [f"bms_{each}", f"passportal_{each}"] for each in ("locations", "contacts", "assets")},
}
"""Dagster asset → what it names that has to come first, in a home where nothing ever ran."""


@pytest.fixture
def home(request: pytest.FixtureRequest) -> Pipeline:
    """A home of the kind that the parameter names."""
    found: Pipeline = request.getfixturevalue(request.param)
    return found


def test_every_list_of_either_side_can_be_read_alone_and_is_not_planned_before_it_is_reconciled(
    fresh: Pipeline,
) -> None:
    for key in READS:
        read = set(fresh.alone(key).metadata)
        if key in ("bms_clients", "bms_locations"):
            assert read == {"bms_locations", "bms_clients"}, "one sweep lands both, and says so"
        else:
            assert read == {key}
    assert fresh.query("SELECT count(*) > 0 FROM bms.clients") == [(True,)]

    (told,) = fresh.alone("sync_plan").failures.values()
    assert "Materialize `reconciled_" in told
    (told,) = fresh.alone("reconciled_contacts").failures.values()
    assert "Materialize `reconciled_clients` first" in told
    for key in ("reconciled_clients", "reconciled_contacts"):
        assert fresh.alone(key).result.success


@pytest.mark.parametrize("home", quick_and_soak([], ["waiting", "finished"]), indirect=True)
def test_every_list_of_either_side_can_be_read_alone_again(home: Pipeline) -> None:
    for key in READS:
        assert key in home.alone(key).metadata, key
    assert set(READS) <= set(home.alone(*READS).metadata)


def test_on_an_empty_home_a_stage_names_what_comes_first(fresh: Pipeline) -> None:
    for key, first in FIRST.items():
        run = fresh.alone(key)
        assert not run.result.success
        assert run.metadata == {}
        (told,) = run.failures.values()
        assert all(f"`{each}`" in told for each in first), told
        assert "Materialize " in told
        assert "`initial_sync`" in told
        assert "bms-pipeline" not in told
        assert fresh.query("SELECT count(*) FROM sync.plans") == [(0,)], "no empty plan is left behind"


@pytest.mark.parametrize("home", quick_and_soak(["finished"], ["waiting"]), indirect=True)
def test_on_a_home_that_was_read_every_stage_runs_alone_and_again(home: Pipeline) -> None:
    for key in ("sync_inputs", *RECONCILED, "sync_plan", "sync_plan", "bms_asset_details"):
        run = home.alone(key)
        assert run.result.success, (key, run.failures)
        assert set(run.metadata) == {key}


def test_on_an_empty_home_a_load_says_that_there_is_no_plan(fresh: Pipeline) -> None:
    for key in LOADS:
        (told,) = fresh.alone(key).failures.values()
        assert "There is no plan yet" in told
        assert "`initial_sync`" in told


def test_on_an_empty_home_a_job_says_which_one_comes_first(fresh: Pipeline) -> None:
    for job in ("plan", "finish", "asset_details"):
        run = fresh.run(job) if job == "finish" else fresh.alone(*_selected(fresh, job))
        assert not run.result.success
        assert all("`initial_sync`" in told for told in run.failures.values())
        assert "loaded_clients" not in run.metadata


def _selected(pipeline: Pipeline, job: str) -> list[str]:
    layer = pipeline.definitions.resolve_job_def(job).asset_layer
    return [each.to_user_string() for each in layer.executable_asset_keys]


def test_the_plan_links_to_a_launchpad_that_names_it(made_waiting: tuple[Pipeline, Run]) -> None:
    waiting, first = made_waiting
    plan = first.metadata["sync_plan"]
    assert links.finish_link(plan["plan hash"]) in plan["next"]
    assert [plan["finish"], plan["finish clients first"]] == [
        links.finish_launchpad(plan["plan hash"], job) for job in ("finish", "finish_clients")
    ]
    assert list(plan)[:3] == ["next", "finish", "finish clients first"], "what a person looks for is on top"
    for job, link in (("finish", plan["finish"]), ("finish_clients", plan["finish clients first"])):
        address = urlsplit(link)
        assert address.path == f"/locations/bms_pipeline/jobs/{job}/playground/setup"
        config = yaml.safe_load(parse_qs(address.query)["config"][0])
        assert config["resources"]["approval"]["config"]["plan_hash"] == plan["plan hash"][:12]
        problems = dg.validate_run_config(waiting.definitions.resolve_job_def(job), config)
        assert problems["resources"]["approval"], "Dagster takes it as it is"
    log = [record.user_message for record in waiting.instance.all_logs(first.result.run_id)]
    assert any(plan["finish"] in message for message in log)


@pytest.mark.parametrize("url", ["http://127.0.0.1:3001", "https://console.example.com/"])
def test_dagster_assets_link_to_their_pages_in_the_console(
    waiting: Pipeline, environment: pytest.MonkeyPatch, url: str
) -> None:
    environment.setenv("CONSOLE_URL", url)
    shown = waiting.run("plan").metadata
    pages = {key: metadata["console"].removeprefix(url.rstrip("/")) for key, metadata in shown.items()}
    assert pages == {**{f"reconciled_{name}": f"/review/{name}" for name in ENTITIES}, "sync_plan": "/preview"}


@pytest.mark.parametrize("url", ["", "javascript:alert(1)", "console.example.com"])
def test_without_a_web_address_of_the_console_nothing_links_there(
    waiting: Pipeline, environment: pytest.MonkeyPatch, url: str
) -> None:
    environment.setenv("CONSOLE_URL", url)
    assert not [key for key, metadata in waiting.run("plan").metadata.items() if "console" in metadata]


def test_a_hash_of_nothing_but_digits_stays_a_text() -> None:
    config = yaml.safe_load(parse_qs(urlsplit(links.finish_launchpad("123456789012")).query)["config"][0])
    assert config["resources"]["approval"]["config"]["plan_hash"] == "123456789012"


@pytest.mark.parametrize("kind", WORDS)
def test_whoever_reads_a_failure_in_dagster_reads_of_jobs(kind: type[PipelineError]) -> None:
    error = kind("It happened.", "Run `bms-pipeline preview`.")
    with pytest.raises(dg.Failure) as failure, told_to_the_operator(lambda: "0123456789abcdef"):
        raise error
    told, shown = str(failure.value.description), failure.value.metadata["next step"].value
    assert told.startswith("It happened.\n→ ")
    assert "bms-pipeline" not in told + str(shown)
    assert "{" not in told + str(shown)
    if kind is PlanWaits:
        assert "`finish` with `plan_hash: 0123456789ab`" in told
        assert links.finish_launchpad("0123456789abcdef") in str(shown)
        assert failure.value.metadata["finish"].value == links.finish_launchpad("0123456789abcdef")


def test_no_failure_names_a_command_but_those_that_have_words_of_their_own() -> None:
    """A new error whose next step is a command, raised where Dagster can meet it, needs words in ``failures``."""
    assert {each.__name__ for each in _raised_with_a_command()} <= {
        *(each.__name__ for each in WORDS),
        StageMissing.__name__,
        *WITHOUT_A_JOB,
    }


WITHOUT_A_JOB = {
    "NoticeError", "SettingsError", "DecisionError", "DecisionRefused", "DecisionsMissing", "PlanError",
    "PipelineError", "ApprovalRefused", "WarehouseDamaged", "WarehouseError", "WarehouseNewer",
    "RecordNotFound",
}  # fmt: skip
"""Raised with a command that no job stands for, or one that a job's own description names."""


def _raised_with_a_command() -> Iterator[type[PipelineError]]:
    package = Path(bms_pipeline.__file__).parent
    shells = {package / "core" / "notifications.py"}
    for file in package.rglob("*.py"):
        if file in shells or {"defs", "console", "cli", "reports"} & set(file.relative_to(package).parts):
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
                texts = [each.value for each in ast.walk(node) if isinstance(each, ast.Constant)]
                if any("`bms-pipeline" in str(each) for each in texts):
                    error = getattr(errors, node.exc.func.id, None)
                    if error is not None:  # what is no error of the tree is an answer to a browser
                        yield error
