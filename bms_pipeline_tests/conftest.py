"""How much property tests explore: a little in the quick suite, hundreds of new examples in ``make soak``.

No generated example is measured by the clock. ``exploring.examples`` is for tests with costly examples.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from weakref import WeakSet

import pytest
from hypothesis import HealthCheck, is_hypothesis_test, settings

_EASY = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]}
settings.register_profile("quick", max_examples=30, derandomize=True, **_EASY)
settings.register_profile("soak", max_examples=500, derandomize=False, print_blob=True, **_EASY)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


_started: WeakSet[subprocess.Popen[bytes]] = WeakSet()
_start = subprocess.Popen.__init__


def _remembered(process: subprocess.Popen[bytes], *arguments: object, **more: object) -> None:
    _started.add(process)
    _start(process, *arguments, **more)  # type: ignore[arg-type]


subprocess.Popen.__init__ = _remembered  # type: ignore[assignment, method-assign]


@pytest.fixture(scope="module", autouse=True)
def _processes_that_ended_are_waited_for() -> Iterator[None]:
    """A process that ended and that nobody waited for would be warned about in whatever test runs at that moment."""
    yield
    for process in list(_started):
        if process.returncode is None:
            process.poll()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every property test with ``explores``, so that ``make soak`` leaves none out; it has an hour there."""
    for item in items:
        if is_hypothesis_test(getattr(item, "obj", None)):
            item.add_marker("explores")
            if settings.get_current_profile_name() == "soak":
                item.add_marker(pytest.mark.timeout(3600))
