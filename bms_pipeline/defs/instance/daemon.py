"""Dagster's daemon, ended together with ``bms-pipeline dev``.

Run it with ``python -m bms_pipeline.defs.instance.daemon``, then the daemon's arguments.
``DAGSTER_HOME`` has to be exported.
"""

from __future__ import annotations

import os

from dagster._daemon.cli import cli

from bms_pipeline.core.lifeline import following
from bms_pipeline.defs.instance.env_file import without_our_lines


def main() -> None:
    """Run the daemon until SIGTERM."""
    os.umask(0o077)
    without_our_lines()
    with following():
        cli()


if __name__ == "__main__":
    main()
