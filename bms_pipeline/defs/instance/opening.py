"""Dagster's databases, opened once before others use them: ``python -m bms_pipeline.defs.instance.opening``."""

from __future__ import annotations

import os

from dagster._cli.utils import get_instance_for_cli

from bms_pipeline.defs.instance.env_file import without_our_lines


def main() -> None:
    """Make or open them, where ``DAGSTER_HOME`` says."""
    os.umask(0o077)
    without_our_lines()
    with get_instance_for_cli() as instance:
        instance.info_dict()


if __name__ == "__main__":
    main()
