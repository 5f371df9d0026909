"""The entry of the command line; also ``python -m bms_pipeline.cli``, where ``bms-pipeline`` is not on the path."""

from __future__ import annotations

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Import the command line and run it. Ctrl-C while it is imported ends in one line, too."""
    try:
        from bms_pipeline.cli import app
    except KeyboardInterrupt:
        print("Stopped before anything was done.", file=sys.stderr)
        sys.exit(130)
    app.main()


if __name__ == "__main__":
    main()
