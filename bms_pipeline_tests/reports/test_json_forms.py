"""The JSON that scripts read keeps its form: the same keys in the same order, whatever types the code uses."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from bms_pipeline.core.vocabulary import Count
from bms_pipeline.plan.standings import Standing
from bms_pipeline.reports import figures, plan_preview
from bms_pipeline_tests.building import World
from bms_pipeline_tests.console.conftest import prepared, world

__all__ = ["prepared", "world"]


def keys(value: Any) -> list[str]:
    return list(value)


def test_status_keeps_its_form(world: World) -> None:
    status = asdict(figures.status(world.settings, world.warehouse))
    assert keys(status) == [
        "initial_sync_finished", "entities", "standings", "plan", "budget", "details", "hand_overs", "unknown",
        "duplicates", "rebuilding_since", "backups", "no_place", "warnings", "tenant",
    ]  # fmt: skip
    assert keys(status["entities"]["clients"]) == ["read", *Count, "orphaned", "oldest_orphan_days"]
    assert keys(status["standings"]["clients"]) == list(Standing)
    assert keys(status["plan"]) == ["hash", "operations", "held_back", "unproved", "stale", "undoes"]
    assert keys(status["details"]) == [
        "wanted", "read", "problems", "oldest_read_at", "unlanded", "waiting", "finished",
    ]  # fmt: skip
    assert keys(status["hand_overs"]) == ["waiting", "overdue", "folder"]
    assert keys(status["backups"]) == ["newest", "made_at", "problem"]


def test_preview_keeps_its_form(world: World) -> None:
    overview = asdict(plan_preview.overview(world.warehouse))
    assert keys(overview) == [
        "hash", "made_at", "operations", "stale", "loaded", "state", "left", "discarded_by", "refused", "undoes",
        "needs_approval", "held_back", "no_place", "totals", "clients", "reasons", "examples",
        "vanished", "warnings", "needs", "inactive",
    ]  # fmt: skip
    assert keys(overview["totals"]["clients"]) == list(plan_preview.COUNTED)
    assert keys(overview["clients"][0]) == ["bms_id", "name", *plan_preview.COUNTED]
    assert keys(overview["reasons"][0]) == ["entity", "disposition", "operation", "reason", "records"]
    assert keys(overview["examples"][0]) == [
        "entity", "bms_id", "name", "operation", "reason", "passportal_id", "changes", "kept", "unmark_id",
    ]  # fmt: skip


def test_explain_keeps_its_form(world: World) -> None:
    world.finish()
    story = asdict(figures.explain(world.warehouse, "clients", 10))
    assert keys(story) == [
        "entity", "bms_id", "standing", "in_bms", "decided", "decisions", "match", "in_passportal", "plan",
        "suggestions", "candidates", "history", "accounts", "labels", "titles",
    ]  # fmt: skip
    assert keys(story["standing"]) == [
        "standing", "means", "reason", "detail", "next_step", "plan_hash", "waits_for", "blocks",
    ]  # fmt: skip
    assert keys(story["decided"]) == [
        "account_id", "client_id", "passportal_id", "is_new_match", "disposition", "reason", "needs_approval",
    ]  # fmt: skip
    assert keys(story["match"]) == ["passportal_id", "reason", "matched_at"]
    assert keys(story["plan"]) == [
        "account_id", "client_id", "passportal_id", "name", "disposition", "operation", "reason", "changes", "kept",
        "no_place", "unlinked", "template", "unmark_id", "needs_approval", "held_back", "unproved", "needs",
        "template_id",
    ]  # fmt: skip
    assert keys(story["candidates"][0]) == ["passportal_id", "client_id", "name", "in_its_client", "matched_to"]
    assert keys(story["history"][0]) == [
        "plan_id", "operation", "reason", "client_id", "passportal_id", "changes", "intent_at", "outcome",
        "outcome_at", "detail", "unmark_id", "left_at", "portion", "marked_at",
        "refuses_values",
    ]  # fmt: skip
    waiting = asdict(figures.explain(world.warehouse, "clients", 12))
    assert keys(waiting["suggestions"][0]) == ["passportal_id", "name", "score", "evidence"]
