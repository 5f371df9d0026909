"""How much property tests explore: a little in the quick suite, hundreds of new examples in ``make soak``.

No generated example is measured by the clock. ``exploring.examples`` is for tests with costly examples.
"""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import HealthCheck, is_hypothesis_test, settings

_EASY = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
settings.register_profile("quick", _EASY, max_examples=30, derandomize=True)
settings.register_profile("soak", _EASY, max_examples=500, derandomize=False, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def pytest_configure() -> None:
    """Let the processes of the tests end by SIGTERM also where a script runs the tests in its background.

    SIGINT is ignored there; Dagster, used inside a test, handles SIGTERM in the same way, and every process started
    afterwards inherits both.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every property test with ``explores``, so that ``make soak`` leaves none out; it has an hour there."""
    for item in items:
        if is_hypothesis_test(getattr(item, "obj", None)):
            item.add_marker("explores")
            if settings.get_current_profile_name() == "soak":
                item.add_marker(pytest.mark.timeout(3600))
