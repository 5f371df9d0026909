"""The guard's files after a power cut, a flipped bit and a wrong clock: nobody gets in by them."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import time_machine

from bms_pipeline.core.errors import ApprovalRefused, SettingsError
from bms_pipeline.guard.store import Store


@pytest.mark.parametrize("content", [b"", bytes(16), bytes(32), bytes(64)])
def test_a_key_that_is_cut_or_holds_only_zeros_signs_nothing_and_is_named(tmp_path: Path, content: bytes) -> None:
    store = Store(tmp_path)
    signed = store.sign("session", "somebody")
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(SettingsError, match="is damaged") as refused:
        store.is_signed("session", "somebody", signed)
    assert "Remove" in refused.value.next_step
    (tmp_path / "key").unlink()
    assert not store.is_signed("session", "somebody", signed), "everybody signs in again"


def test_a_code_that_was_made_while_the_clock_was_a_year_ahead_opens_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with time_machine.travel(datetime.now(UTC) + timedelta(days=365), tick=True):
        code = store.new_code()
        made = datetime.now(UTC).timestamp()
    (file,) = (tmp_path / "codes").iterdir()
    os.utime(file, (made, made))
    assert not store.take_code(code)
    assert store.take_code(store.new_code())


def test_an_address_is_printed_as_it_was_written_or_not_at_all(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.serving("console", "http://127.0.0.1:3030"):
        (file,) = (tmp_path / "served").iterdir()
        whole = file.read_bytes()
        flipped = (
            whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :] for at in range(len(whole)) for bit in range(8)
        )
        for damaged in (b"", *(whole[:length] for length in range(len(whole))), *flipped):
            file.write_bytes(damaged)
            assert store.served() == [], damaged
        file.write_bytes(whole)
        assert [pages.address for pages in store.served()] == ["http://127.0.0.1:3030"]
    assert list((tmp_path / "served").iterdir()) == []


def test_of_codes_and_used_launches_nothing_but_name_and_age_counts(tmp_path: Path) -> None:
    store = Store(tmp_path)
    code = store.new_code()
    with store.using_once("a launch"):
        pass
    for file in (*(tmp_path / "codes").iterdir(), *(tmp_path / "used").iterdir()):
        file.write_bytes(b"\xff\x00 not what was written")
    with pytest.raises(ApprovalRefused), store.using_once("a launch"):
        pass
    assert store.take_code(code)
    assert not store.take_code(code)
