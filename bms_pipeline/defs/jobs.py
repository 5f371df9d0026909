"""The jobs a person launches."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import dagster as dg

from bms_pipeline.core.entities import ENTITIES
from bms_pipeline.defs import links, names
from bms_pipeline.defs.assets.extract import details_key
from bms_pipeline.defs.assets.load import BY_CLIENT_KEY, RESULT_KEY, loaded_key
from bms_pipeline.defs.assets.reconcile import PLAN_KEY, reconciled_key
from bms_pipeline.defs.resources import Approval, ScopeOfRun
from bms_pipeline.sync.enrichment import DETAILED


def _assets(*asset_names: str) -> dg.AssetSelection:
    return dg.AssetSelection.assets(*map(names.asset_key, asset_names))


DETAILS = _assets(*(details_key(entity) for entity, _ in DETAILED))
WHOLE = dg.AssetSelection.all() - _assets(BY_CLIENT_KEY) - DETAILS
"""Every asset except those with runs of their own: the clients one by one, and the details."""


STAGE_TAG = names.tag("stage")
"""The tag of a job, and of its runs, with the stage of a person's work that it belongs to."""


class JobStage(StrEnum):
    """The stages of a person's work, in order."""

    READ = "1_read"
    DECIDE = "2_decide"
    PLAN = "3_plan"
    FINISH = "4_finish"
    SYNC = "5_sync"
    REPAIR = "6_repair"


def stage(name: JobStage) -> dict[str, str]:
    """Return the tags of a job of this stage, and so of its runs."""
    return {STAGE_TAG: name.value, **names.tenant_tags()}


def scheduled(*, full_sweep: bool = False) -> dict[str, Any]:
    """Return the configuration of a scheduled run."""
    scope = ScopeOfRun(full_sweep=full_sweep, only_what_is_new=True)
    return {
        "resources": {"scope": {"config": scope.model_dump()}, "approval": {"config": Approval().model_dump()}},
    }


INCREMENTAL_SYNC = dg.define_asset_job(
    "incremental_sync",
    selection=WHOLE,
    config=scheduled(),
    tags=stage(JobStage.SYNC),
    description=(
        "Reads what changed, plans, and loads what the settings allow, inside the breakers. What they do not allow"
        " waits for a person. Ends early where nothing changed."
    ),
)
ASSET_DETAILS = dg.define_asset_job(
    "asset_details",
    selection=DETAILS,
    tags=stage(JobStage.SYNC),
    description="Reads details of assets in the background, as far as the hour's calls go. The next sync loads them.",
)
INITIAL_SYNC = dg.define_asset_job(
    "initial_sync",
    selection=WHOLE,
    # Only this default differs from the resources' own, which the launchpad shows by itself.
    config={
        "resources": {
            "scope": {"config": ScopeOfRun(full_sweep=True).model_dump()},
            "approval": {"config": Approval().model_dump()},
        }
    },
    tags=stage(JobStage.READ),
    description=(
        "Reads all of BMS and Passportal and saves a plan. Nothing is loaded before a person names that plan:"
        " then follow the link `finish` of `sync_plan`."
    ),
)
PLAN = dg.define_asset_job(
    "plan",
    selection=_assets(*(reconciled_key(entity.name) for entity in ENTITIES), PLAN_KEY),
    tags=stage(JobStage.PLAN),
    description="Plans again after decisions or settings changed, from what was read last; reads neither service.",
)
FINISH = dg.define_asset_job(
    links.FINISH,
    selection=_assets(*(loaded_key(entity.name) for entity in ENTITIES), RESULT_KEY),
    tags=stage(JobStage.FINISH),
    description="Loads the saved plan that `plan_hash` names. The first time, this ends the initial sync.",
)
FINISH_CLIENTS = dg.define_asset_job(
    links.FINISH_CLIENTS,
    selection=_assets(loaded_key("clients"), loaded_key("users")),
    tags=stage(JobStage.FINISH),
    description=(
        "Approves the saved plan that `plan_hash` names and loads its clients and users only. What is inside the"
        f" clients then follows client by client: a backfill of `{BY_CLIENT_KEY}`, which ends the initial sync when"
        " nothing of the plan is left."
    ),
)
JOBS = (INITIAL_SYNC, PLAN, FINISH, FINISH_CLIENTS, INCREMENTAL_SYNC, ASSET_DETAILS)
"""In the order in which a person needs them."""
