"""Every name that this process has in Dagster, as JSON: ``python -m bms_pipeline_tests.defs.naming``.

A process has the names of one tenant, so a test of other names starts another process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg

ROOT = Path(__file__).parents[2]


def names_in_dagster(definitions: dg.Definitions) -> dict[str, Any]:
    """Return assets, checks, jobs, schedules and sensors with their keys, groups, pools, partitions and tags."""
    repository, graph = definitions.get_repository_def(), definitions.resolve_asset_graph()
    return {
        "assets": {
            node.key.to_user_string(): {
                "group": node.group_name,
                "parents": sorted(key.to_user_string() for key in node.parent_keys),
                "pools": sorted(node.pools or ()),
                "partitions": getattr(node.partitions_def, "name", None),
                "tags": sorted(node.tags),
            }
            for node in sorted(graph.asset_nodes, key=lambda node: node.key)
        },
        "checks": sorted(f"{key.asset_key.to_user_string()}:{key.name}" for key in graph.asset_check_keys),
        "jobs": {
            job.name: {
                "tags": dict(job.tags),
                "run tags": dict(job.run_tags),
                "assets": sorted(key.to_user_string() for key in job.asset_layer.executable_asset_keys),
            }
            for job in sorted(repository.get_all_jobs(), key=lambda job: job.name)
        },
        "schedules": {schedule.name: schedule.job_name for schedule in repository.schedule_defs},
        "sensors": sorted(sensor.name for sensor in repository.sensor_defs),
        "resources": sorted(definitions.resources or {}),
    }


def names_of(
    tenant: str, folder: Path, project: Path | None = None, **exported: str
) -> subprocess.CompletedProcess[str]:
    """Load the definitions of ``tenant``, or of a project, in a process of its own; its output is the JSON."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("BMS_", "PASSPORTAL_"))}
    return subprocess.run(
        [sys.executable, "-m", "bms_pipeline_tests.defs.naming", *([str(project)] if project else [])],
        cwd=folder,
        env={**environment, "PYTHONPATH": f"{ROOT}:{folder}", "BMS_PIPELINE_NAME": tenant, **exported},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def loaded(project: Path | None) -> dg.Definitions:
    """Load the definitions of this process, or those that a project declares in its folder ``defs``."""
    if project is not None:
        return dg.load_from_defs_folder(path_within_project=project)
    from bms_pipeline.definitions import defs

    return defs()


if __name__ == "__main__":
    found = loaded(Path(sys.argv[1]) if sys.argv[1:] else None)
    json.dump(names_in_dagster(found), sys.stdout, indent=1, sort_keys=True)
