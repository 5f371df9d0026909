"""Everything that one tenant has in Dagster."""

from __future__ import annotations

import dagster as dg

from bms_pipeline.defs import checks, decisions, doctor, jobs, lake, schedules, sensors
from bms_pipeline.defs.assets import by_client, extract, load, reconcile
from bms_pipeline.defs.resources import Approval, Pipeline, ScopeOfRun


def build_definitions() -> dg.Definitions:
    """Build the Dagster assets from left to right, their checks, the jobs, and what launches them by itself."""
    return dg.Definitions(
        assets=[*extract.ASSETS, *reconcile.ASSETS, *load.ASSETS, *by_client.ASSETS],
        asset_checks=[*checks.CHECKS, *doctor.CHECKS],
        jobs=[*jobs.JOBS, doctor.DOCTOR, *decisions.JOBS, *lake.JOBS],
        schedules=[*schedules.SCHEDULES, *lake.SCHEDULES],
        sensors=sensors.SENSORS,
        resources={"pipeline": Pipeline(), "scope": ScopeOfRun(), "approval": Approval()},
        # One process for all steps: it shares the login, and a killed run leaves no step behind that still writes.
        executor=dg.in_process_executor,
    )
