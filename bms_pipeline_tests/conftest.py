"""How much property tests explore: a little in the quick suite, hundreds of new examples in ``make soak``.

No generated example is measured by the clock.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

_EASY = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]}
settings.register_profile("quick", max_examples=30, derandomize=True, **_EASY)
settings.register_profile("soak", max_examples=500, derandomize=False, print_blob=True, **_EASY)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))
