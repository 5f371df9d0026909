"""The name by which a ``dagster.yaml`` of version 0.5 calls it."""

from bms_pipeline.defs.instance.event_log import EventLog as EventLog
