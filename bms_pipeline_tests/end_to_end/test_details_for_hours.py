"""The details of a whole tenant, for a day and a half on a virtual clock, killed again and again."""

from __future__ import annotations

import math

import pytest

from benchmarks import details

TICK_HOURS = 1 / 60
IN_FLIGHT = 8


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("assets", "limit", "kills"), [(240, 60, 2), (50_000, 1500, 10)])
def test_killed_runs_read_every_detail_in_the_time_that_the_limit_allows(assets: int, limit: int, kills: int) -> None:
    found = details.measured(assets, limit, kills)
    assert (found.landed, found.in_passportal, found.kills) == (assets, assets, kills)
    assert found.disturbed == []
    assert found.calls - assets <= kills * IN_FLIGHT, "nothing but what is in flight at a kill is lost"
    hours = math.ceil(found.calls / limit) - 1
    assert found.hours <= hours * (1 + TICK_HOURS) + kills * TICK_HOURS + 0.1
