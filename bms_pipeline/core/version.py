"""Which version this is."""

from __future__ import annotations

from importlib import metadata

VERSION = metadata.version("bms_pipeline")
