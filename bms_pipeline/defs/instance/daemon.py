"""Dagster's daemon, ended together with ``bms-pipeline dev``.

Run it with ``python -m bms_pipeline.defs.instance.daemon``, then the daemon's arguments.
"""

from __future__ import annotations

import os

from dagster._daemon.cli import cli

from bms_pipeline.core.lifeline import following


def main() -> None:
    """Run the daemon until SIGTERM."""
    os.umask(0o077)
    with following():
        cli()


if __name__ == "__main__":
    main()
