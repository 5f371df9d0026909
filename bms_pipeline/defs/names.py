"""The names of this tenant in Dagster. Several tenants may share one Dagster, and no two names may be the same.

``BMS_PIPELINE_NAME`` names the tenant. Without a name, every name here is the plain one::

    asset key   acme/sync_plan           first component; the last one, which the lineage page shows, stays
    group       acme_extract             pools and partitions alike: Dagster keeps one of each for all tenants
    tag         acme.bms_pipeline/plan

Jobs, schedules and sensors belong to a code location, so their names stay.
"""

from __future__ import annotations

import dagster as dg

from bms_pipeline.core.settings import read_schedule_settings

TENANT = read_schedule_settings().bms_pipeline_name
"""The name of this process's tenant; empty where Dagster has only one."""
LOCATION = TENANT or "bms_pipeline"
"""The code location, as ``workspace.yaml`` names it."""
TENANT_TAG = "bms_pipeline/tenant"
"""The tag of a named tenant's runs with its name, to filter runs by."""


def asset_key(name: str) -> dg.AssetKey:
    """Return the key of a Dagster asset."""
    return dg.AssetKey([TENANT, name] if TENANT else [name])


def asset_name(key: dg.AssetKey) -> str:
    """Return the last component of ``key``: the name of the asset within its tenant."""
    return key.path[-1]


def shared(name: str) -> str:
    """Return the name of a group, a pool or a partitions definition."""
    return f"{TENANT}_{name}" if TENANT else name


def tag(name: str) -> str:
    """Return the key of a tag of jobs or runs."""
    return f"{TENANT}.bms_pipeline/{name}" if TENANT else f"bms_pipeline/{name}"


def is_ours(run: dg.DagsterRun) -> bool:
    """Return whether ``run`` is of this tenant. A person can take tags off a run, but not its code location."""
    if not TENANT:
        return TENANT_TAG not in run.tags
    location = run.remote_job_origin.location_name if run.remote_job_origin else None
    return run.tags.get(TENANT_TAG, location) == TENANT


def tenant_tags() -> dict[str, str]:
    """Return the tags by which a run is known as this tenant's; none where the tenant has no name."""
    return {TENANT_TAG: TENANT} if TENANT else {}
