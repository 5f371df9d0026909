"""The file of a portion: whatever a kill or a disk leaves of it, nothing is sent twice and nothing is lost."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pytest
import time_machine

from bms_pipeline.core.entities import Entity
from bms_pipeline.core.errors import RunLocked, ServiceUnreachable
from bms_pipeline.load import apply
from bms_pipeline.passportal.target import Write
from bms_pipeline.sync import loading, run_lock
from bms_pipeline.warehouse import lease, outcomes, portions
from bms_pipeline.warehouse.portions import Sent
from bms_pipeline_tests.building import AS_HELD, CREATE_ALL, World, account, contact, opened_world
from bms_pipeline_tests.load.disturbing import GRACE_SECONDS, Killed, Passing

_T = TypeVar("_T")
THEN = datetime(2031, 7, 1, 12)
CALLS = (
    ((1, 2), Sent(done={1: "contact-1"}, refused={2: "the service says no"})),
    ((3, 4), Sent(done={3: "contact-3"}, unknown={4: "no answer in time"})),
    ((5, 6), None),
)


@pytest.fixture
def content(tmp_path: Path) -> tuple[bytes, Path]:
    """What a process that was killed in its third call left."""
    database = tmp_path / "warehouse.duckdb"
    with portions.begun(database, 7) as portion:
        for bms_ids, sent in CALLS:
            portion.mark(bms_ids, THEN)
            if sent:
                portion.answer(sent, THEN)
    (file,) = portions.files_of(database)
    assert file.stat().st_mode & 0o077 == 0
    return file.read_bytes(), file


# The file alone


def test_a_kill_after_any_byte_leaves_exactly_the_marks_that_were_written(content: tuple[bytes, Path]) -> None:
    whole, file = content
    written = whole.rstrip(b"\0")
    ends = [place for place, byte in enumerate(written) if byte == ord("\n")]
    assert len(ends) == 6
    for cut in range(ends[0], len(written) + 1):
        found = portions.read_portion(written[:cut] + b"\0", file)
        lines = sum(end <= cut for end in ends)  # a line counts without its end
        marked = {bms_id for bms_ids, _ in CALLS[: lines // 2] for bms_id in bms_ids}
        assert (set(found.marked), found.problem) == (marked, "")
        assert [sent for _, sent in found.answers] == [sent for _, sent in CALLS[: (lines - 1) // 2]]


def test_what_a_disk_cut_off_is_seen_wherever_it_was_cut(content: tuple[bytes, Path]) -> None:
    whole, file = content
    for cut in range(len(whole.rstrip(b"\0")) + 1):
        assert portions.read_portion(whole[:cut], file).problem


def test_one_flipped_bit_never_takes_a_mark_away_unseen(content: tuple[bytes, Path]) -> None:
    whole, file = content
    undamaged = portions.read_portion(whole, file)
    draw = random.Random(1)
    for place in range(len(whole.rstrip(b"\0")) + 3):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << draw.randrange(8)
        found = portions.read_portion(bytes(flipped), file)
        assert found.problem or found == undamaged, place


def test_zeros_in_place_of_the_file_are_a_problem(content: tuple[bytes, Path]) -> None:
    whole, file = content
    assert portions.read_portion(bytes(len(whole)), file).problem


def test_nothing_is_marked_in_a_file_that_another_run_took_away(tmp_path: Path) -> None:
    database = tmp_path / "warehouse.duckdb"
    with portions.begun(database, 7) as portion:
        portion.mark([1], THEN)
        (held,) = portions.held(database)
        held.rename(held.with_name("7.aside"))
        with pytest.raises(RunLocked, match="another run took over"):
            portion.mark([2], THEN)


# In a home


class Watched(Passing):
    """A service that loses the process in the ``nth`` write of contacts, or runs ``look`` there."""

    def __init__(self, world: World, nth: int = 0, look: Callable[[], object] | None = None) -> None:
        super().__init__(world.passportal, batch_size=2)
        self.unknown_seconds = GRACE_SECONDS
        self.nth, self.look = nth, look
        self.writes: list[tuple[int, ...]] = []

    def last_write_at(self) -> datetime | None:
        return datetime.now(UTC).replace(tzinfo=None)

    def call(self, verb: str, entity: Entity, writes: Sequence[Write], go: Callable[[], _T]) -> _T:
        if (verb, entity.name) != ("create", "contacts"):
            return super().call(verb, entity, writes, go)
        self.writes.append(tuple(write.bms_id for write in writes))
        if len(self.writes) == self.nth:
            if self.look is None:
                raise Killed
            self.look()
        return super().call(verb, entity, writes, go)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> World:
    """One client with ten contacts to create: five calls."""
    with opened_world(tmp_path_factory.mktemp("prepared"), entities=AS_HELD) as world:
        world.accounts = [account(1, "Acme")]
        world.contacts = [contact(n, 1, "Person", str(n)) for n in range(1, 11)]
        world.approve(world.plan(CREATE_ALL).hash)
    return world


@pytest.fixture
def world(prepared: World, tmp_path: Path) -> Iterator[World]:
    with opened_world(tmp_path / "home", like=prepared) as world:
        yield world


def journal(world: World) -> dict[int, str]:
    """What the journal says of each contact in the end, by BMS id."""
    return dict(
        world.query(
            "SELECT bms_id, coalesce(arg_max(coalesce(outcome, 'unknown'), intent_at), '') FROM sync.journal"
            " WHERE entity = 'contacts' GROUP BY ALL"
        )
    )


def killed(world: World, nth: int) -> Path:
    """Kill the load in its ``nth`` call on contacts; the file that it leaves."""
    with pytest.raises(Killed):
        world.load(Watched(world, nth))
    (file,) = portions.files_of(world.warehouse.file)
    return file


def titles(world: World) -> list[str]:
    return sorted(record.title for record in world.content() if record.type == "contact")


ALL = sorted(f"Person {n}" for n in range(1, 11))


def test_only_the_marked_call_is_unknown_and_the_rest_goes_out_at_once_under_the_same_approval(world: World) -> None:
    file = killed(world, 3)
    assert journal(world) == {n: "done" if n <= 4 else "unknown" if n <= 6 else "not_sent" for n in range(1, 11)}
    assert not file.exists()
    assert len(world.query("FROM sync.matches WHERE entity = 'contacts'")) == 4
    again = Watched(world)
    world.load(again)
    assert again.writes == [(7, 8), (9, 10)]
    assert [n for n, outcome in journal(world).items() if outcome == "unknown"] == [5, 6]


def test_the_grace_time_counts_from_the_mark(world: World) -> None:
    def wait_and_die() -> None:
        clock.shift(timedelta(seconds=50))
        raise Killed

    with time_machine.travel(THEN.replace(tzinfo=UTC), tick=False) as clock:
        with pytest.raises(Killed):
            world.load(Watched(world, 2, look=wait_and_die))
        (found,) = loading.unknown_writes(world.warehouse)
    assert (found.writes, found.left_at) == (2, THEN)


def test_outcomes_of_earlier_calls_are_kept_when_a_later_one_fails(world: World) -> None:
    def fail() -> None:
        raise ServiceUnreachable("the connection was reset")

    with pytest.raises(ServiceUnreachable):
        world.load(Watched(world, 4, look=fail))
    assert sorted(journal(world).values()) == ["done"] * 6 + ["not_sent"] * 2 + ["unknown"] * 2


@pytest.mark.parametrize(
    "damage",
    [
        Path.unlink,
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(file.read_bytes().rstrip(b"\0")[:-10]),
        lambda file: file.write_bytes(file.read_bytes().replace(b'"leave"', b'"lEave"', 1)),
    ],
    ids=["deleted", "emptied", "cut", "a damaged line"],
)
def test_whatever_a_damaged_file_may_be_about_is_unknown_and_looked_up(
    world: World, damage: Callable[[Path], object]
) -> None:
    damage(killed(world, 3))
    assert "not_sent" not in journal(world).values()
    again = Watched(world)
    world.load(again)
    assert again.writes == []
    world.cycle()
    assert titles(world) == ALL
    assert set(journal(world).values()) == {"done"}


def test_taking_in_twice_or_after_a_kill_in_the_middle_is_taking_in_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = killed(world, 3)
    content = file.read_bytes()

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(outcomes, "remember_values", die)
        with pytest.raises(Killed):
            journal(world)
    assert file.read_bytes() == content
    state = "SELECT entity, bms_id, outcome, detail, marked_at, left_at FROM sync.journal ORDER BY ALL"
    once = world.query(state), world.query("FROM sync.matches"), world.query("FROM sync.base_contacts ORDER BY ALL")
    file.write_bytes(content)
    assert once == (
        world.query(state),
        world.query("FROM sync.matches"),
        world.query("FROM sync.base_contacts ORDER BY ALL"),
    )
    assert not file.exists()


def test_who_looks_at_a_load_at_work_takes_nothing_in(world: World) -> None:
    seen: list[dict[int, str]] = []
    target = Watched(world, 3, look=lambda: seen.append(journal(world)))
    world.load(target)
    assert seen == [dict.fromkeys(range(1, 11), "unknown")]
    assert set(journal(world).values()) == {"done"}


def test_a_load_whose_lease_was_taken_over_sends_nothing_more_and_the_rest_is_looked_up(world: World) -> None:
    target = Watched(world, 2, look=lambda: world.warehouse.take_over())
    with pytest.raises(RunLocked):
        world.load(target)
    assert target.writes == [(1, 2), (3, 4)]
    assert set(journal(world).values()) == {"unknown"}
    world.cycle()
    assert titles(world) == ALL


def test_a_load_that_was_declared_dead_sends_nothing_more(world: World) -> None:
    target = Watched(world, 2, look=lambda: lease.revoke(world.warehouse.file))
    with pytest.raises(RunLocked, match="declared dead"), run_lock.running(world.settings):
        world.load(target)
    assert target.writes == [(1, 2), (3, 4)]
    assert len(titles(world)) == 4  # the second call had left before
    world.cycle()
    assert titles(world) == ALL


def test_the_file_of_another_database_is_moved_aside_and_not_believed(world: World) -> None:
    file = killed(world, 3)
    stranger = file.rename(file.with_name("7.log"))
    stranger.write_bytes(stranger.read_bytes().replace(file.stem.encode(), b"7"))
    assert "not_sent" not in journal(world).values()
    assert not stranger.exists()
    assert list(stranger.parent.glob("7.log.*.aside"))


def test_a_large_entity_has_larger_portions(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apply, "PORTION", 1)
    monkeypatch.setattr(apply, "MOST_PORTIONS", 2)
    world.load(Watched(world))
    assert world.query(
        "SELECT count(DISTINCT portion), min(n) FROM (SELECT portion, count(*) OVER (PARTITION BY portion) AS n"
        " FROM sync.journal WHERE entity = 'contacts')"
    ) == [(2, 5)]
