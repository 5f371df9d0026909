"""The dashboard and the alert rules in `deploy/` name metrics and labels that exist; promtool judges the rules."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bms_pipeline.reports import metrics

DEPLOY = Path(__file__).parents[1] / "deploy"
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana.json").read_text(encoding="utf-8"))
ALERTS: dict[str, Any] = yaml.safe_load((DEPLOY / "alerts.yaml").read_text(encoding="utf-8"))
RULES: list[dict[str, Any]] = [rule for group in ALERTS["groups"] for rule in group["rules"]]
METRICS = {metric.full_name: metric for metric in metrics.METRICS}
OF_EVERY_METRIC = {"tenant", "instance"}
"""Labels that no metric declares: that of the settings, and Prometheus' own."""


def dashboard_queries() -> list[str]:
    """Every query of a panel or a variable."""
    variables = [each["definition"] for each in DASHBOARD["templating"]["list"] if "definition" in each]
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]] + variables


def named_labels(query: str) -> Iterator[str]:
    """The labels that a query groups by or selects."""
    for inside in re.findall(r"\b(?:by|on) \(([^)]*)\)", query):
        yield from (name.strip() for name in inside.split(","))
    yield from re.findall(r"(\w+)=~?\"", query)


@pytest.mark.parametrize("query", [*dashboard_queries(), *(rule["expr"] for rule in RULES)])
def test_a_query_names_metrics_and_labels_that_exist(query: str) -> None:
    named = set(re.findall(r"bms_pipeline_\w+", query))
    assert named
    assert named <= METRICS.keys()
    for name in named:
        assert set(named_labels(query)) <= {*METRICS[name].labels, *OF_EVERY_METRIC}


def test_each_metric_that_needs_a_person_has_an_alert() -> None:
    alerted = " ".join(rule["expr"] for rule in RULES)
    for metric in (
        metrics.LAST_SUCCESS, metrics.LAST_COMPLETE_READ, metrics.WAITING, metrics.FAILED, metrics.UNKNOWN_WRITES,
        metrics.PLAN_WAITS, metrics.DUPLICATES, metrics.BACKUP_FAILED, metrics.CALLS_LEFT, metrics.LAST_RUN_SUCCEEDED,
    ):  # fmt: skip
        assert metric.full_name in alerted


def test_each_alert_says_what_happened_and_what_to_do() -> None:
    names = [rule["alert"] for rule in RULES]
    assert len(names) == len(set(names))
    for rule in RULES:
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert {"summary", "description"} == rule["annotations"].keys()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_label_in_an_annotation_is_one_of_its_metric(rule: dict[str, Any]) -> None:
    used = {name for text in rule["annotations"].values() for name in re.findall(r"\$labels\.(\w+)", text)}
    for name in re.findall(r"bms_pipeline_\w+", rule["expr"]):
        assert used <= {*METRICS[name].labels, *OF_EVERY_METRIC}


def test_the_dashboard_fits_its_grid_and_names_no_data_source_of_anybodys() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (column, row)
            for column in range(place["x"], place["x"] + place["w"])
            for row in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(column for column, _ in cells) < 24
        taken |= cells
        assert panel["datasource"]["uid"] == "${datasource}"


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not on PATH (Debian: apt-get install prometheus)"
)
def test_promtool_accepts_the_rules_and_the_queries_of_the_dashboard(tmp_path: Path) -> None:
    queries = [target["expr"].replace("$tenant", ".*") for panel in DASHBOARD["panels"] for target in panel["targets"]]
    rules = [{"record": f"query_{place}", "expr": query} for place, query in enumerate(queries)]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}), encoding="utf-8")
    command = ["promtool", "check", "rules", str(DEPLOY / "alerts.yaml"), str(file)]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
