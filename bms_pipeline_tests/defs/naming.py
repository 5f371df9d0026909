"""Every name that a process has in Dagster, as JSON.

A process has the names of one tenant, so a test of other names starts another process.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import dagster as dg

ROOT = Path(__file__).parents[2]
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["dagster"])


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
    """Load the definitions of ``tenant``, or of a project, in a process of its own; its output is the JSON.

    The process is a fork of one that holds Dagster and nothing of ours: loading Dagster takes most of the time.
    """
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("BMS_", "PASSPORTAL_"))}
    environment |= {"BMS_PIPELINE_NAME": tenant, **exported}
    receiver, sender = _FORKS.Pipe(duplex=False)
    with receiver, sender:
        process = _FORKS.Process(target=_tell_names, args=(sender, environment, folder, project))
        process.start()
        sender.close()
        try:
            code, output, errors = receiver.recv() if receiver.poll(120) else (1, "", "no answer in 120 seconds")
        finally:
            process.kill()
            process.join()
    return subprocess.CompletedProcess((), code, output, errors)


def _tell_names(sender: Connection, environment: dict[str, str], folder: Path, project: Path | None) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path[:0] = [str(ROOT), str(folder)]
    try:
        found = names_in_dagster(loaded(project))
    except Exception:
        sender.send((1, "", traceback.format_exc()))
    else:
        sender.send((0, json.dumps(found, indent=1, sort_keys=True), ""))


def loaded(project: Path | None) -> dg.Definitions:
    """Load the definitions of this process, or those that a project declares in its folder ``defs``."""
    if project is not None:
        return dg.load_from_defs_folder(path_within_project=project)
    from bms_pipeline.definitions import defs

    return defs()
