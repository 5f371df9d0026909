"""However a month goes, its end is that of one undisturbed sync: nothing twice, nothing lost, no limit broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from bms_pipeline_tests.end_to_end.month import CALLS_PER_HOUR, KILLS_A_DAY, Figures, report, simulate
from bms_pipeline_tests.end_to_end.month_truth import Truth
from bms_sandbox.tenant import Size


@pytest.mark.soak
def test_a_day_of_kills_failing_calls_and_an_outage_leaves_nothing_wrong(tmp_path: Path) -> None:
    figures, truth = simulate(tmp_path, "small", days=1, seed=1, ticks_a_day=4, kept_open=True)
    check(figures, truth, days=1)
    assert figures.other_ticks_failed == 0


@pytest.mark.soak
@pytest.mark.timeout(14_400)
@pytest.mark.parametrize(("size", "days", "seed"), [("small", 4, 2), ("small", 4, 3), ("typical", 30, 1)])
def test_a_month_leaves_nothing_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], size: Size, days: int, seed: int
) -> None:
    figures, truth = simulate(tmp_path, size, days=days, seed=seed)
    with capsys.disabled():
        print(f"\n{report(figures, truth)}")
    check(figures, truth, days)
    # A list that was read again after a kill may use up the hour's calls: the next tick then goes on with it.
    assert figures.other_ticks_failed <= figures.ticks * 0.05


def check(figures: Figures, truth: Truth, days: int) -> None:
    """What holds for every month."""
    said = report(figures, truth)
    assert not figures.defects, said
    assert not truth.broken(), said
    assert figures.left_at_the_end == figures.done["failed"] == 0, said
    assert figures.refused_calls == 0, said
    assert max(*figures.most_in_an_hour.values(), *figures.most_counted.values()) <= CALLS_PER_HOUR, said
    assert figures.outage_ticks_failed == figures.outage_ticks > 0, said
    assert figures.kills.total() == KILLS_A_DAY * days, said
    assert truth.matched > 0, said
    assert figures.done["created"] > 0, said
