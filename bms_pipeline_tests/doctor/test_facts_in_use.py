"""A sync uses what `doctor` proved, where it is safe; where nothing was proved it tries as before."""

from __future__ import annotations

from pathlib import Path

import pytest

from bms_pipeline_tests.doctor.examining import a_tenant
from bms_pipeline_tests.stranger.bms import BmsHabits
from bms_pipeline_tests.stranger.living import Person, living


def calls_of_preview(person: Person) -> list[str]:
    person.bms.calls.clear()
    assert person.do("preview").returncode in (0, 2), person.said()
    return [call.lower() for call in person.bms.calls]


@pytest.mark.parametrize("status", ["400", "500"])
def test_sort_is_not_tried_where_bms_was_seen_to_refuse_it(tmp_path: Path, status: str) -> None:
    habits = BmsHabits(sort=f"refused {status}")
    with living(tmp_path / "without", a_tenant(), habits) as person:
        without = calls_of_preview(person)
    with living(tmp_path / "with", a_tenant(), habits) as person:
        assert person.do("doctor").returncode == 0, person.said()
        known = calls_of_preview(person)

    assert any("sort=" in call for call in without)
    assert not any("sort=" in call for call in known)
    assert len(known) < len(without)


def test_sort_is_sent_where_it_is_honoured_or_nothing_is_known(tmp_path: Path) -> None:
    with living(tmp_path / "home", a_tenant(), BmsHabits()) as person:
        unknown = calls_of_preview(person)
        person.do("doctor")
        known = calls_of_preview(person)

    assert any("sort=" in call for call in unknown)
    assert any("sort=" in call for call in known)
