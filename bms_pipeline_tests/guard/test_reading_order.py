"""A launchpad begins with its keys in the order in which a person reads them, and with Dagster's own defaults."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from bms_pipeline.definitions import defs as load_definitions
from bms_pipeline.defs.pages import READING_ORDER, in_reading_order
from bms_pipeline_tests.guard.conftest import SELECTOR, Pages

DEFAULTS = """query Defaults($selector: PipelineSelector!) {
  runConfigSchemaOrError(selector: $selector, mode: "default") { ... on RunConfigSchema { rootDefaultYaml } }
}"""
JOBS = [job.name for job in load_definitions().get_repository_def().get_all_jobs() if not job.name.startswith("__")]


def defaults(pages: Pages, job: str) -> str:
    found = pages.graphql(DEFAULTS, selector={**SELECTOR, "pipelineName": job})
    return str(found["runConfigSchemaOrError"]["rootDefaultYaml"])


def keys(config: Any) -> list[str]:
    """All keys below ``config:``, as they are written."""
    if not isinstance(config, dict):
        return []
    return [*config.get("config", ()), *(key for below in config.values() for key in keys(below))]


@pytest.mark.parametrize("job", JOBS)
def test_the_values_are_dagsters_and_the_order_is_a_readers(pages: Pages, bare: Pages, job: str) -> None:
    bare.cookie = "none"  # nobody signs in there
    shown, own = defaults(pages, job), defaults(bare, job)
    assert yaml.safe_load(shown) == yaml.safe_load(own), "nothing but the order"
    assert sorted(shown.splitlines()) == sorted(own.splitlines())


def test_a_decision_begins_with_the_records_and_ends_with_the_person(pages: Pages) -> None:
    assert keys(yaml.safe_load(defaults(pages, "include"))) == [
        "entity", "bms_ids", "name", "client", "disposition", "reason", "create", "match_to", "allow_duplicate",
        "dry_run", "why", "by",
    ]  # fmt: skip
    assert keys(yaml.safe_load(defaults(pages, "finish"))) == ["plan_hash", "by"]


def test_every_key_of_a_decision_has_its_place(pages: Pages) -> None:
    found = {key for job in JOBS for key in keys(yaml.safe_load(defaults(pages, job)).get("ops"))}
    assert found - {"plan_id"} <= set(READING_ORDER)


@pytest.mark.parametrize("text", ["", "{}\n"])
def test_a_job_without_configuration_stays_as_it_is(text: str) -> None:
    assert in_reading_order(text) == text
