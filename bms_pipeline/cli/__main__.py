"""``python -m bms_pipeline.cli``: the command line where ``bms-pipeline`` is not on the path."""

from bms_pipeline.cli.app import main

main()
