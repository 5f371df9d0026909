"""What a person launches."""

from __future__ import annotations

import dagster as dg

from bms_pipeline.defs.load import RESULT_KEY, loaded_key
from bms_pipeline.defs.reconcile import PLAN_KEY, reconciled_key
from bms_pipeline.defs.resources import Approval, ScopeOfRun
from bms_pipeline.entities import ENTITIES

JOBS = (
    dg.define_asset_job(
        "initial_sync",
        selection=dg.AssetSelection.all(),
        # Only here does the default differ from the resources' own, which the launchpad shows by itself.
        config={
            "resources": {
                "scope": {"config": ScopeOfRun(full_sweep=True).model_dump()},
                "approval": {"config": Approval().model_dump()},
            }
        },
        description=(
            "Reads all of BMS and Passportal and saves a plan. Nothing is loaded before a person names that plan:"
            " then launch `finish` with its hash."
        ),
    ),
    dg.define_asset_job(
        "incremental_sync",
        selection=dg.AssetSelection.all(),
        description=(
            "Reads what changed, plans, and loads what the settings allow, inside the breakers. What they do not"
            " allow waits for a person."
        ),
    ),
    dg.define_asset_job(
        "plan",
        selection=dg.AssetSelection.assets(*(reconciled_key(each.name) for each in ENTITIES), PLAN_KEY),
        description="Plans anew after decisions or settings changed, from what was read last; reads neither service.",
    ),
    dg.define_asset_job(
        "finish",
        selection=dg.AssetSelection.assets(*(loaded_key(each.name) for each in ENTITIES), RESULT_KEY),
        description="Loads the saved plan that `plan_hash` names. The first time, this ends the initial sync.",
    ),
)
