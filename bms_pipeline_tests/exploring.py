"""How much a property test draws: few examples, always the same, in the quick suite; many new ones in ``make soak``."""

from __future__ import annotations

from typing import Any

from hypothesis import settings


def examples(quick: int, soak: int, **more: Any) -> settings:
    """``@examples(3, 60)``: the settings of a property test of which one example is not as cheap as the profile thinks.

    Whether they are the same at every run is the profile's matter, see ``conftest``, and never a test's own.
    """
    number = soak if settings.get_current_profile_name() == "soak" else quick
    return settings(max_examples=number, **more)
