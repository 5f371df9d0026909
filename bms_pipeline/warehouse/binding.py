"""A way to keep DuckDB from looking for pandas when a statement binds a value."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_pandas() -> Iterator[None]:
    """Keep DuckDB from importing pandas at the first bound value: for a command that binds few values and ends.

    The import takes half of the time of such a command. Without it a list of 20,000 values takes seven times as long
    to bind, so no command that syncs should do this. Where pandas is imported already, nothing changes.
    """
    if "pandas" in sys.modules:
        yield
        return
    sys.modules["pandas"] = None  # type: ignore[assignment]  # Python's mark for a missing module
    try:
        yield
    finally:
        del sys.modules["pandas"]
