"""An example of a code location of your own that works on what the sync stored.

Name it in your `workspace.yaml` next to ours, with `python_file`. An asset with a key of ours in `deps` is below it in
the lineage; with an automation condition it follows each load by itself.
"""

import dagster as dg
import pandas as pd

from bms_pipeline.defs.reading import ReadOnlyHome


@dg.asset(deps=["loaded_assets"], automation_condition=dg.AutomationCondition.eager(), group_name="reporting")
def assets_by_client(context: dg.AssetExecutionContext, tenant: ReadOnlyHome) -> pd.DataFrame:
    """Count the assets of each client by their standing: one row a client."""
    assets = tenant.frame("assets")
    counted = pd.crosstab(assets["client"], assets["standing"])
    context.add_output_metadata({"clients": len(counted), "assets": len(assets)})
    return counted


@dg.asset(deps=["loaded_clients"], group_name="reporting")
def oldest_decisions(tenant: ReadOnlyHome) -> pd.DataFrame:
    """Return the ten clients with most records waiting for a person, by SQL over the same tables."""
    with tenant.relations() as tables:
        return tables.sql(
            "SELECT client, count(*) AS records, min(first_seen) AS since FROM waiting"
            " GROUP BY ALL ORDER BY records DESC, client LIMIT 10"
        ).df()


defs = dg.Definitions(assets=[assets_by_client, oldest_decisions], resources={"tenant": ReadOnlyHome()})
