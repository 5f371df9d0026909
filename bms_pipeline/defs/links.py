"""Links between Dagster's pages and the console, and launchpads filled in with a plan's hash.

A link to a filled-in launchpad is no approval. The person who opens it launches the job, and the log-in in front of
Dagster's pages vouches for that launch (``guard.vouching``).
"""

from __future__ import annotations

from urllib.parse import quote_plus

import dagster as dg

from bms_pipeline.core.entities import EntityName
from bms_pipeline.core.settings import Settings
from bms_pipeline.defs import names

SHORT = 12
"""Characters of a hash to show; enough to name a plan."""
FINISH, FINISH_CLIENTS = "finish", "finish_clients"
"""The jobs that load a plan named by its hash: all of it, or its clients and users only."""
_BELOW = "\n  approval:\n    config:\n      "


def launchpad(job: str) -> str:
    """Return the path of a job's launchpad on Dagster's pages."""
    return f"/locations/{names.LOCATION}/jobs/{job}/playground"


def finish_launchpad(plan_hash: str, job: str = FINISH) -> str:
    """Return the path of the launchpad of ``job``, filled in with this plan."""
    # Quoted: a hash of nothing but digits would be a number in YAML.
    approval = f"plan_hash: '{plan_hash[:SHORT]}'"
    return (
        f"{launchpad(job)}/setup?config={quote_plus(f'resources:{_BELOW}{approval}', safe=':')}"  # short: it is shown
    )


def on_dagster(settings: Settings, path: str) -> str:
    """Return ``path`` for readers elsewhere: with the address of Dagster's pages, where DAGSTER_URL names it."""
    return f"{settings.dagster_url.rstrip('/')}{path}"


def console_metadata(settings: Settings, path: str) -> dict[str, dg.MetadataValue]:
    """Return a link to ``path`` of the review console as metadata; nothing where CONSOLE_URL does not name it."""
    url = settings.console_url.rstrip("/")
    return {"console": dg.MetadataValue.url(f"{url}{path}")} if url.startswith(("http://", "https://")) else {}


def record_page(entity: EntityName, bms_id: int) -> str:
    """Return the path of a record's page in the console."""
    return f"/records/{entity}/{bms_id}"


def job_link(job: str) -> str:
    """Return Markdown for a job by its name."""
    return f"[{job}]({launchpad(job)})"


def finish_link(plan_hash: str) -> str:
    """Return Markdown for the job `finish` with this plan."""
    return f"[finish]({finish_launchpad(plan_hash)}) with `plan_hash: {plan_hash[:SHORT]}`"


def asset_link(name: str) -> str:
    """Return Markdown for a Dagster asset by its name."""
    return f"[{name}](/assets/{'/'.join(names.asset_key(name).path)})"
