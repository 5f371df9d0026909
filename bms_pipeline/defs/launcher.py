"""The name by which a ``dagster.yaml`` of version 0.5 calls it."""

from bms_pipeline.defs.instance.launcher import RunLauncher as RunLauncher
