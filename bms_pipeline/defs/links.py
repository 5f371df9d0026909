"""Links for Dagster's pages: jobs by name, and the launchpad filled in with a plan's hash."""

from __future__ import annotations

from urllib.parse import quote

LOCATION = "bms_pipeline"
"""The code location, as ``workspace.yaml`` names it."""
SHORT = 12
"""Characters of a hash to show; enough to name a plan."""
_BELOW = "\n  approval:\n    config:\n      "


def launchpad(job: str) -> str:
    """Return the address of a job's launchpad."""
    return f"/locations/{LOCATION}/jobs/{job}/playground"


def finish_launchpad(plan_hash: str) -> str:
    """Return the address of the launchpad of `finish`, filled in with this plan."""
    # Quoted: a hash of nothing but digits would be a number in YAML.
    approval = f"plan_hash: '{plan_hash[:SHORT]}'\n"
    return f"{launchpad('finish')}/setup?config={quote(f'resources:{_BELOW}{approval}', safe='')}"


def job_link(job: str) -> str:
    """Return Markdown for a job by its name."""
    return f"[{job}]({launchpad(job)})"


def finish_link(plan_hash: str) -> str:
    """Return Markdown for the job `finish` with this plan."""
    return f"[finish]({finish_launchpad(plan_hash)}) with `plan_hash: {plan_hash[:SHORT]}`"


def asset_link(key: str) -> str:
    """Return Markdown for a Dagster asset by its key."""
    return f"[{key}](/assets/{key})"
