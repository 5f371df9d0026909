"""The integration page's steps 6 to 20 and coming back later, by command line alone and by Dagster jobs alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from bms_pipeline.definitions import defs
from bms_pipeline.guard import vouching
from bms_pipeline.guard.store import Store
from bms_pipeline_tests.running import Home
from bms_sandbox.process import running_sandbox
from bms_sandbox.tenant import Size

Way = Callable[..., Any]
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def walk(home: Home, do: Way) -> None:
    """What a person does on the pages, with ``do`` as their hands."""
    # 6, 7: the toggles; 8: authenticate; what there is, is read for the first time.
    do("preview")
    do("change_settings", changes={"sync.users": "on", "auto_create.clients": "on", "clients": "all"})
    # 9 and 14: auto-match all.
    do("auto_match", entities=["users"])
    # 10 and 15: match by hand what is near and not identical.
    for entity in ("users", "clients"):
        near = home.warehouse(NEAR.format(entity=entity))
        for bms_id, passportal_id in near[:1]:
            do("match", entity=entity, bms_id=bms_id, passportal_id=passportal_id)
        waiting = [row[0] for row in home.warehouse(WAITING.format(entity=entity))]
        # 11 and 16: exclude some, create the others; 12 and 17: one of the excluded is wanted after all.
        do("exclude", entity=entity, bms_ids=waiting[:3], why="not ours")
        do("create_unmatched", entities=[entity])
        do("include", entity=entity, bms_ids=waiting[:1], create=True)
        if entity == "users":
            do("auto_match", entities=["clients"])
    # 19, 20: the preview, and finish for exactly that.
    do("plan")
    do("finish")
    # 13 and 18: come back later, for one that was left out, and for one that was matched wrongly.
    do("include", entity="users", bms_ids=[row[0] for row in home.warehouse(EXCLUDED)][:1], create=True)
    do("unmatch", entity="clients", bms_ids=[row[0] for row in home.warehouse(MATCHED)][:1], why="another company")
    do("change_settings", changes={"sync.users": "off"})
    do("change_settings", changes={"sync.users": "on"})
    do("plan")
    do("finish")


NEAR = """
SELECT r.bms_id, any_value(p.passportal_id) FROM sync.reconciled_{entity} r JOIN bms.{entity} b USING (bms_id)
JOIN passportal.{entity} p ON left(p.name_key, 6) = left(b.name_key, 6)
WHERE r.reason = 'near_identical_name' AND p.bms_id IS NULL
  AND p.passportal_id NOT IN (SELECT passportal_id FROM sync.reconciled_{entity} WHERE disposition = 'matched')
GROUP BY ALL HAVING count(*) = 1 ORDER BY 1
"""
WAITING = "SELECT bms_id FROM sync.reconciled_{entity} WHERE reason = 'waits_for_decision' ORDER BY 1"
EXCLUDED = "SELECT bms_id FROM sync.exclusions WHERE entity = 'users' ORDER BY 1"
MATCHED = "SELECT bms_id FROM sync.matches WHERE entity = 'clients' AND reason = 'identical_name' ORDER BY 1"


def by_command_line(home: Home, *, in_processes: bool) -> Way:
    """Every verb as a person types it; ``in_processes``: each in one of its own."""
    call = home.run if in_processes else home.call

    def run(*arguments: str, ends: int = 0) -> Any:
        result = call(*arguments, "--json")
        assert result.returncode == ends, result.stderr
        return json.loads(result.stdout)

    def do(verb: str, **said: Any) -> None:
        entity, ids = said.get("entity", ""), [str(each) for each in said.get("bms_ids", ())]
        match verb:
            case "preview":
                assert call("authenticate").returncode == 0
                run("preview", ends=2)
            case "plan":
                run("preview", "--saved", ends=2)
            case "finish":
                run("finish", run("preview", "--saved", ends=2)["hash"])
            case "change_settings":
                run("settings", "set", *(f"{name}={value}" for name, value in said["changes"].items()))
            case "auto_match" | "create_unmatched":
                run(verb.replace("_", "-"), *said["entities"])
            case "match":
                run("match", entity, str(said["bms_id"]), said["passportal_id"])
            case _:
                why = ["--why", said["why"]] if "why" in said else []
                run(verb, entity, *ids, *(["--create"] if said.get("create") else []), *why)

    return do


def by_jobs(home: Home, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> Way:
    """Every verb as a job launched with run config, in this process."""
    for name, value in home.environment.items():
        monkeypatch.setenv(name, value)
    definitions = defs()

    def launch(job: str, config: dict[str, Any]) -> dg.ExecuteInProcessResult:
        # As the gate in front of Dagster's pages launches it for somebody who signed in.
        voucher = vouching.vouch(Store(home.settings.guard_folder), job, QUIET | config, "a person")
        result = definitions.resolve_job_def(job).execute_in_process(
            run_config=QUIET | config, instance=instance, tags={vouching.TAG: voucher}
        )
        assert result.success
        return result

    def op_of(job: str) -> str:
        return {"change_settings": "change_sync_settings"}.get(job, f"decide_{job}")

    def do(verb: str, **said: Any) -> None:
        if verb == "preview":
            launch("initial_sync", {})
        elif verb == "plan":
            launch("plan", {})
        elif verb == "finish":
            ((plan_hash,),) = home.warehouse("SELECT hash FROM sync.plans ORDER BY plan_id DESC LIMIT 1")
            launch("finish", {"resources": {"approval": {"config": {"plan_hash": plan_hash}}}})
        elif verb == "change_settings":
            shown = launch(verb, {"ops": {op_of(verb): {"config": said}}})
            (output,) = [each for each in shown.all_events if each.event_type_value == "STEP_OUTPUT"]
            confirm = output.step_output_data.metadata["confirm"].value
            launch(verb, {"ops": {op_of(verb): {"config": {**said, "confirm": confirm}}}})
        else:
            launch(verb, {"ops": {op_of(verb): {"config": said}}})

    return do


@pytest.mark.soak
@pytest.mark.parametrize("size", ["small", pytest.param("typical", marks=pytest.mark.timeout(1800))])
def test_both_ways_end_in_the_same_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: Size) -> None:
    with running_sandbox(size, 3, tmp_path / "tenant", {"hourly_limit": None}) as sandbox:
        typed, launched = Home(tmp_path / "typed", sandbox), Home(tmp_path / "launched", sandbox)
        walk(typed, by_command_line(typed, in_processes=size == "typical"))
        with dg.instance_for_test() as instance:
            walk(launched, by_jobs(launched, instance, monkeypatch))
        assert typed.state() == launched.state()
        assert decided(typed) == decided(launched)
        ((count,),) = typed.warehouse("SELECT count(*) FROM sync.decisions")
        assert count > 20
        assert nothing_is_there_twice(typed)
        assert typed.run("preview", "--json").returncode == 0, "nothing is left to do"


def decided(home: Home) -> dict[str, list[tuple[Any, ...]]]:
    """All that lasts of people's decisions, without who and when."""
    return {
        "exclusions": home.warehouse("SELECT entity, bms_id FROM sync.exclusions ORDER BY ALL"),
        "approved_creates": home.warehouse("SELECT entity, bms_id FROM sync.approved_creates ORDER BY ALL"),
        "non_matches": home.warehouse("SELECT entity, bms_id, passportal_id FROM sync.non_matches ORDER BY ALL"),
        "ledger": home.warehouse("SELECT verb, entity, bms_id, was, became, why FROM sync.decisions ORDER BY ALL"),
        "settings": home.warehouse(
            "SELECT name, value FROM sync.settings WHERE name NOT LIKE '%finished%' ORDER BY ALL"
        ),
    }


def nothing_is_there_twice(home: Home) -> bool:
    """No two records of Passportal bear one marker inside a client."""
    return not home.passportal(
        "SELECT type, client_id, marker FROM records WHERE marker IS NOT NULL GROUP BY ALL HAVING count(*) > 1"
    )
