"""Times on the pages: UTC as sent, and by the reader's clock where scripts run."""

from __future__ import annotations

from datetime import datetime

import pytest

from bms_pipeline.console.context import time_element


@pytest.mark.parametrize(
    "moment", [datetime(2026, 11, 25, 23, 47, 5), "2026-11-25T23:47:05+00:00", "2026-11-26T08:47:05+09:00"]
)
def test_a_moment_is_sent_in_utc_to_the_minute_with_its_second_in_the_tooltip(moment: datetime | str) -> None:
    assert time_element(moment) == (
        '<time class="moment" datetime="2026-11-25T23:47:05Z" title="2026-11-25 23:47:05 UTC">'
        "2026-11-25 23:47 UTC</time>"
    )
