"""Suggestions: likely Passportal records for each unmatched or ambiguous BMS record.

They are for a person to decide on; nothing here is ever applied by itself::

    open records of both sides
        → candidate pairs: similar trigrams in their names (TF-IDF, so rare ones weigh more),
          or a shared rare value such as an e-mail
        → bits for and against each pair: from the names and from the other fields (``entities.Comparison``)
        → a score between 0 and 1 from the sum of the bits, and the best few pairs of each record

Importing this module takes a second: do it late.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import groupby, repeat
from typing import Any, Literal

import duckdb
import numpy as np
from numpy.typing import NDArray
from rapidfuzz import fuzz, process
from sklearn.feature_extraction.text import TfidfVectorizer
from sparse_dot_topn import sp_matmul_topn

from bms_pipeline.core.entities import Comparison, Entity
from bms_pipeline.warehouse import sql

Agreement = Literal["agrees", "near", "differs", "missing"]
Positions = NDArray[np.int64]
"""Positions of records within one side."""
Numbers = NDArray[np.float64]

CANDIDATES = 20
"""The number of candidates compared with each record. A value on more records than this makes no candidates."""
CHUNK = 5_000
"""The number of BMS records compared at a time, which bounds the memory."""
CORES = os.cpu_count() or 1
LEAST_SCORE = 0.05
"""A pair with a lower score is no suggestion."""

# The name alone: 20 bits for the whole way from nothing alike to identical, even odds at 0.72. Measured: of the best
# candidates with names this alike about half are right (benchmarks/suggestions.py).
BITS_OF_NAME, EVEN_NAME, MOST_OF_NAME, LEAST_OF_NAME = 20.0, 0.72, 5.0, -6.0
BITS_WITHOUT_NAME = -5.0
NEAR = 85.0
"""Values at least this similar, out of 100, are near."""
MARKER = "bms_id"
MISSING, DIFFERS, NEARLY, AGREES = range(4)
AGREEMENTS: tuple[Agreement, ...] = ("missing", "differs", "near", "agrees")


@dataclass(frozen=True, slots=True)
class Evidence:
    """The evidence of one field: the values of both sides as stored, and whether they agree."""

    field: str
    agreement: Agreement
    bms: str | None
    passportal: str | None


@dataclass(frozen=True, slots=True)
class Suggestion:
    """One candidate for one BMS record; ``rank`` counts from 1, ``score`` is between 0 and 1.

    ``evidence`` starts with the name. Then comes each field with evidence about identity, in the order of the entity's
    fields.
    """

    bms_id: int
    rank: int
    passportal_id: str
    name: str
    score: float
    evidence: tuple[Evidence, ...]

    @property
    def likelihood(self) -> Likelihood:
        """The score in words."""
        return next(word for word, least in _LEAST_OF.items() if self.score >= least)

    def fields(self, *agreements: Agreement) -> list[str]:
        """Return the fields whose evidence is one of ``agreements``."""
        return [clue.field for clue in self.evidence if clue.agreement in agreements]

    @property
    def differs(self) -> bool:
        """Whether any field of the two says something else."""
        return bool(self.fields("differs"))


class Likelihood(StrEnum):
    """A score in words."""

    VERY_LIKELY = "very likely"
    LIKELY = "likely"
    POSSIBLE = "possible"
    UNLIKELY = "unlikely"


_LEAST_OF = {Likelihood.VERY_LIKELY: 0.95, Likelihood.LIKELY: 0.75, Likelihood.POSSIBLE: 0.4, Likelihood.UNLIKELY: 0.0}


class Doubt(StrEnum):
    """Why the best candidate of a record is not the only one that fits.

    ``SEVERAL``: another candidate fits about as well. ``SHARED``: it fits another waiting record about as well.
    ``SEPARATED``: a person took the two apart.
    """

    SEVERAL = "several"
    SHARED = "shared"
    SEPARATED = "separated"


CLOSE_BITS = 2.0
"""Two pairs fit about equally well if their evidence differs by less than this: odds of one to four."""


@dataclass(frozen=True, slots=True)
class Best:
    """The best candidate of one record; ``rivals`` are the records behind the doubt: Passportal ids, or BMS ids."""

    suggestion: Suggestion
    doubt: Doubt | None
    rivals: tuple[str | int, ...] = ()


def best_candidates(
    found: Mapping[int, Sequence[Suggestion]], separated: Collection[tuple[int, str]] = ()
) -> dict[int, Best]:
    """Return BMS id → its best candidate, for each record that has one.

    ``found`` holds the suggestions of all waiting records of the same clients, because a candidate may fit several of
    them. ``separated``: the pairs that a person took apart.
    """
    claims: dict[str, list[Suggestion]] = defaultdict(list)
    for candidates in found.values():
        if candidates:
            claims[candidates[0].passportal_id].append(candidates[0])
    best = {}
    for bms_id, candidates in found.items():
        if not candidates:
            continue
        first, *others = candidates
        several = tuple(other.passportal_id for other in others if _bits(first) - _bits(other) < CLOSE_BITS)
        shared = tuple(
            claim.bms_id
            for claim in claims[first.passportal_id]
            if claim.bms_id != bms_id and _bits(first) - _bits(claim) < CLOSE_BITS
        )
        if (bms_id, first.passportal_id) in separated:
            best[bms_id] = Best(first, Doubt.SEPARATED)
        elif shared:
            best[bms_id] = Best(first, Doubt.SHARED, shared)
        else:
            best[bms_id] = Best(first, Doubt.SEVERAL if several else None, several)
    return best


def _bits(suggestion: Suggestion) -> float:
    """Return the evidence behind a score, which is rounded: at both ends the bits have a limit."""
    score = min(max(suggestion.score, 0.0001), 0.9999)
    return float(np.log2(score / (1 - score)))


@dataclass(frozen=True)
class _Column:
    """One field of all records of one side; ``codes`` are equal where the keys are, on both sides, -1 for a blank.

    ``rarity`` is 1 for a value on one record of its client and approaches 0 for a value on all of them.
    """

    values: Sequence[str | None]
    keys: Sequence[str | None]
    likes: Sequence[str | None]
    codes: Positions
    rarity: Numbers
    like_rarity: Numbers


@dataclass(frozen=True)
class _Side:
    """All open records of one side: by client, those without a marker first, then by id."""

    ids: Sequence[Any]
    clients: Sequence[str | None]
    markers: Sequence[int | None]
    names: Sequence[str | None]
    name_keys: Sequence[str]
    loose: Sequence[str]
    columns: dict[str, _Column]

    @cached_property
    def rank_of_id(self) -> Positions:
        """The rank of each record by its id alone."""
        return np.argsort(np.argsort(np.array(self.ids)))


@dataclass(frozen=True)
class _Pairs:
    """Pairs to compare: positions on both sides, and the cosine of their names' trigrams."""

    left: Positions
    right: Positions
    cosine: Numbers


@dataclass(frozen=True)
class _Compared:
    """The comparison of one field for each pair: an index into ``AGREEMENTS``, and the bits for or against."""

    agreement: NDArray[np.int8]
    bits: Numbers


def suggest_partners(
    connection: duckdb.DuckDBPyConnection, entity: Entity, bms_ids: Collection[int] | None = None, limit: int = 5
) -> dict[int, list[Suggestion]]:
    """Return BMS id → at most ``limit`` suggestions, best first, for each unmatched or ambiguous record of ``entity``.

    ``bms_ids`` limits the records. The answer for a record is the same alone or with all others. A record without
    candidates has an empty list. Needs ``sync.reconciled_<entity>`` as reconcile left it. Changes nothing.
    """
    clues = {field.name: field.clue for field in entity.fields if field.clue}
    codes: dict[str, dict[str, int]] = {field: {} for field in clues}
    waiting = _read(connection, entity, "bms", codes)
    free = _read(connection, entity, "passportal", codes)
    wanted = None if bms_ids is None else set(bms_ids)
    chosen = np.array([n for n, bms_id in enumerate(waiting.ids) if wanted is None or bms_id in wanted], dtype=np.int64)
    found: dict[int, list[Suggestion]] = {waiting.ids[position]: [] for position in chosen.tolist()}
    if len(chosen) and free.ids:
        finder = _Finder(waiting, free, clues)
        for start in range(0, len(chosen), CHUNK):
            pairs = finder.pairs(chosen[start : start + CHUNK])
            for suggestion in _ranked(waiting, free, pairs, clues, limit):
                found[suggestion.bms_id].append(suggestion)
    return found


def _read(
    connection: duckdb.DuckDBPyConnection, entity: Entity, schema: str, codes: dict[str, dict[str, int]]
) -> _Side:
    """Read the open records of one side, adding their keys to the shared ``codes`` (field → key → code)."""
    clues = {field.name: field.clue for field in entity.fields if field.clue}
    cursor = connection.execute(_side_sql(entity, schema, clues))
    # Column by column: hundreds of thousands of row tuples keep the garbage collector busy.
    fetched: list[list[Any]] = [column.tolist() for column in cursor.fetchnumpy().values()]
    ids, clients, markers, name, name_keys, loose, records, *rest = fetched
    parts = iter(rest)
    columns = {
        field: _column(codes[field], records, next(parts), next(parts), next(parts), next(parts), next(parts))
        for field in clues
    }
    return _Side(ids, clients, markers, name, [key or "" for key in name_keys], [key or "" for key in loose], columns)


def _side_sql(entity: Entity, schema: str, clues: dict[str, Comparison]) -> str:
    is_bms = schema == "bms"
    inside, client = ("account_id", "o.client_id") if is_bms else ("client_id", "k.inside")
    counted = [f"key_{field}" for field in clues]
    counted += [f"like_{field}" for field, clue in clues.items() if clue.like not in (None, clue.key)]
    return sql.read("reconcile/suggestion_candidates").format(
        table=f"{schema}.{entity.name}",
        id="bms_id" if is_bms else "passportal_id",
        inside=inside if entity.has_client else "NULL",
        marker="NULL" if is_bms else "bms_id",
        client=client if entity.has_client else "NULL",
        is_there="missing_since IS NULL" if is_bms else "true",
        keys="".join(
            f", {field}, {c.key} AS key_{field}, {c.like or 'NULL'} AS like_{field}" for field, c in clues.items()
        ),
        bearers="".join(f", count(*) OVER (PARTITION BY inside, {column}) AS bearers_{column}" for column in counted),
        loose="coalesce(k.loose_key, k.name_key)",
        columns="".join(
            f", k.{name}, k.key_{name}, k.like_{name}, k.bearers_key_{name},"
            f" {f'k.bearers_like_{name}' if f'like_{name}' in counted else f'k.bearers_key_{name} AS of_like_{name}'}"
            for name in clues
        ),
        open=(_WAITING if is_bms else _FREE).format(
            entity=entity.name, has_place="k.inside IS NOT NULL" if entity.has_client else "true"
        ),
    )


_WAITING = """JOIN sync.reconciled_{entity} o ON o.bms_id = k.id
WHERE o.disposition IN ('unmatched', 'ambiguous')"""
# A record with the marker of a BMS record belongs to that BMS record.
_FREE = """WHERE {has_place}
  AND NOT EXISTS (FROM sync.matches m WHERE m.entity = '{entity}' AND m.passportal_id = k.id)
  AND NOT EXISTS (FROM sync.reconciled_{entity} o WHERE o.disposition = 'matched' AND o.passportal_id = k.id)
  AND (k.marker IS NULL OR EXISTS (FROM sync.reconciled_{entity} o
       WHERE o.bms_id = k.marker AND o.disposition IN ('unmatched', 'ambiguous')))"""


def _column(
    codes: dict[str, int],
    records: Sequence[int],
    values: Sequence[str | None],
    keys: Sequence[str | None],
    likes: Sequence[str | None],
    bearers: Sequence[int],
    like_bearers: Sequence[int],
) -> _Column:
    coded = [-1 if key is None else codes.setdefault(key, len(codes)) for key in keys]
    all_of_client = np.log1p(np.array(records, dtype=np.float64))
    rarity = 1 - np.log(np.array(bearers, dtype=np.float64)) / all_of_client
    like_rarity = 1 - np.log(np.array(like_bearers, dtype=np.float64)) / all_of_client
    return _Column(values, keys, likes, np.array(coded, dtype=np.int64), rarity, like_rarity)


class _Finder:
    """Finds the pairs worth comparing, from the trigrams of all names and the records of each rare value."""

    def __init__(self, waiting: _Side, free: _Side, clues: dict[str, Comparison]) -> None:
        self._waiting, self._free = waiting, free
        # One vocabulary for all clients, so a score means the same everywhere. No record has the last name: without any
        # trigram there is no vocabulary.
        vectors = TfidfVectorizer(analyzer=_trigrams, dtype=np.float32).fit_transform(
            [*waiting.loose, *free.loose, "nobody"]
        )
        self._left, self._right = vectors[: len(waiting.ids)], vectors[len(waiting.ids) : -1]
        self._of_client = _unmarked(free)
        self._finding = {field: clue.tail for field, clue in clues.items() if clue.finds}
        self._bearers = _bearers_of_values(free, self._finding)

    def pairs(self, chosen: Positions) -> _Pairs:
        """Return the candidates of these BMS records: each pair once, ordered by the positions on both sides."""
        found = [self._sharing_a_value(chosen)]
        for client, group in groupby(chosen.tolist(), key=self._waiting.clients.__getitem__):
            found.append(
                self._alike_in_name(np.array(list(group), dtype=np.int64), *self._of_client.get(client, (0, 0)))
            )
        width = len(self._free.ids)
        left, right = np.divmod(np.unique(np.concatenate([left * width + right for left, right in found])), width)
        cosine = self._left[left].multiply(self._right[right]).sum(axis=1)
        return _Pairs(left, right, np.asarray(cosine, dtype=np.float64).ravel())

    def _alike_in_name(self, left: Positions, start: int, end: int) -> tuple[Positions, Positions]:
        """Pair each of ``left`` with the free records from ``start`` to ``end`` whose names are most similar."""
        if end - start <= CANDIDATES:
            return np.repeat(left, end - start), np.tile(np.arange(start, end), len(left))
        # Threads take longer to start than a small client takes to multiply.
        threads = CORES if end - start >= CHUNK else 1
        best = sp_matmul_topn(self._left[left], self._right[start:end].T.tocsr(), top_n=CANDIDATES, n_threads=threads)
        return np.repeat(left, np.diff(best.indptr)), best.indices.astype(np.int64) + start

    def _sharing_a_value(self, chosen: Positions) -> tuple[Positions, Positions]:
        """Pair each of ``chosen`` with the free records which share one of its rare values or have its marker."""
        pairs: list[tuple[int, int]] = []
        for left in chosen.tolist():
            client = self._waiting.clients[left]
            values = [
                (field, _end(self._waiting.columns[field].keys[left], tail)) for field, tail in self._finding.items()
            ]
            for shared_value in (*values, (MARKER, self._waiting.ids[left])):
                bearers = self._bearers.get((client, *shared_value), ())
                if len(bearers) <= CANDIDATES:
                    pairs += zip(repeat(left), bearers, strict=False)
        both = np.array(pairs, dtype=np.int64).reshape(-1, 2)
        return both[:, 0], both[:, 1]


def _trigrams(name: str) -> list[str]:
    """Return the trigrams within each word of ``name``, with its surrounding white space: word order has no effect."""
    padded = f" {name} "
    return [padded[n : n + 3] for n in range(len(padded) - 2) if padded[n + 1] != " "] if name else []


def _end(key: str | None, length: int) -> str | None:
    """Return the last ``length`` characters, or all for 0."""
    return key[-length:] if key else None


def _unmarked(free: _Side) -> dict[str | None, tuple[int, int]]:
    """Return client → the start and end of its records without a marker."""
    lies: dict[str | None, tuple[int, int]] = {}
    for position, (client, marker) in enumerate(zip(free.clients, free.markers, strict=True)):
        if marker is None:
            lies[client] = (lies.get(client, (position, 0))[0], position + 1)
    return lies


def _bearers_of_values(free: _Side, finding: dict[str, int]) -> dict[tuple[str | None, str, Any], list[int]]:
    """Return client, field and value → the free records with it; a marker is the value of a field ``MARKER``."""
    bearers: dict[tuple[str | None, str, Any], list[int]] = defaultdict(list)
    for position, (client, marker) in enumerate(zip(free.clients, free.markers, strict=True)):
        if marker is not None:
            bearers[client, MARKER, marker].append(position)
            continue
        for field, tail in finding.items():
            value = _end(free.columns[field].keys[position], tail)
            if value:
                bearers[client, field, value].append(position)
    return dict(bearers)


def _ranked(
    waiting: _Side, free: _Side, pairs: _Pairs, clues: dict[str, Comparison], limit: int
) -> Iterator[Suggestion]:
    """Yield the best ``limit`` pairs of each BMS record, in the order of their ranks."""
    compared = {"name": _compare_names(waiting, free, pairs)}
    compared |= {
        field: _compare(waiting.columns[field], free.columns[field], clue, pairs) for field, clue in clues.items()
    }
    # Rounded, so the order in which floating-point numbers were added decides nothing.
    bits = np.round(np.sum([comparison.bits for comparison in compared.values()], axis=0), 6)
    order = np.lexsort((free.rank_of_id[pairs.right], -bits, pairs.left))
    order = order[bits[order] >= np.log2(LEAST_SCORE / (1 - LEAST_SCORE))]
    grouped = pairs.left[order]
    ranks = np.arange(len(order)) - np.searchsorted(grouped, grouped) + 1
    best, rank = order[ranks <= limit], ranks[ranks <= limit].tolist()
    left, right = pairs.left[best].tolist(), pairs.right[best].tolist()
    values = {"name": (waiting.names, free.names)}
    values |= {field: (waiting.columns[field].values, free.columns[field].values) for field in clues}
    evidence = [
        _evidence(field, comparison.agreement[best].tolist(), _of(values[field][0], left), _of(values[field][1], right))
        for field, comparison in compared.items()
    ]
    scores = np.round(1 / (1 + 2 ** -bits[best]), 4).tolist()
    names_found = [name or "" for name in _of(free.names, right)]
    return map(
        Suggestion, _of(waiting.ids, left), rank, _of(free.ids, right), names_found, scores, zip(*evidence, strict=True)
    )


def _of(values: Sequence[Any], positions: Sequence[int]) -> list[Any]:
    return [values[position] for position in positions]


def _evidence(
    field: str, agreements: Sequence[int], bms: Sequence[str | None], passportal: Sequence[str | None]
) -> Iterator[Evidence]:
    return map(Evidence, repeat(field), _of(AGREEMENTS, agreements), bms, passportal)


def _compare_names(waiting: _Side, free: _Side, pairs: _Pairs) -> _Compared:
    """Compare the names in four ways: with and without legal suffixes, accents, punctuation and word order."""
    left, right = pairs.left.tolist(), pairs.right.tolist()
    loose = _of(waiting.loose, left), _of(free.loose, right)
    written = _of(waiting.name_keys, left), _of(free.name_keys, right)
    alike = (
        pairs.cosine
        + (_likeness(fuzz.ratio, *loose) + _likeness(fuzz.token_set_ratio, *loose) + _likeness(fuzz.ratio, *written))
        / 100
    )
    bits = np.clip(BITS_OF_NAME * (alike / 4 - EVEN_NAME), LEAST_OF_NAME, MOST_OF_NAME)
    blank = np.array(
        [not (bms_name and passportal_name) for bms_name, passportal_name in zip(*written, strict=True)], dtype=bool
    )
    identical = np.array(
        [bms_name == passportal_name for bms_name, passportal_name in zip(*written, strict=True)], dtype=bool
    )
    agreement = np.select([blank, identical, bits >= 0], [MISSING, AGREES, NEARLY], DIFFERS)
    return _Compared(agreement.astype(np.int8), np.where(blank, BITS_WITHOUT_NAME, bits))


def _likeness(scorer: Callable[..., float], one: Sequence[str | None], other: Sequence[str | None]) -> Numbers:
    """Return the similarity, out of 100, of each text of ``one`` to the text of ``other`` in the same place."""
    return np.asarray(process.cpdist(one, other, scorer=scorer), dtype=np.float64)


def _compare(one: _Column, other: _Column, clue: Comparison, pairs: _Pairs) -> _Compared:
    """Compare one field of each pair. An agreement counts for as much as the value is rare, a blank for nothing."""
    left, right = one.codes[pairs.left], other.codes[pairs.right]
    agreement = np.where(left == right, AGREES, DIFFERS)
    agreement[(left < 0) | (right < 0)] = MISSING
    if clue.tail:
        apart = np.flatnonzero(agreement == DIFFERS)
        keys = _of(one.keys, pairs.left[apart].tolist()), _of(other.keys, pairs.right[apart].tolist())
        agreement[apart[[_ends_alike(*both, clue.tail) for both in zip(*keys, strict=True)]]] = AGREES
    if clue.like:
        apart = np.flatnonzero(agreement == DIFFERS)
        likes = _of(one.likes, pairs.left[apart].tolist()), _of(other.likes, pairs.right[apart].tolist())
        agreement[apart[_likeness(fuzz.ratio, *likes) >= NEAR]] = NEARLY
    rarity = np.minimum(one.rarity[pairs.left], other.rarity[pairs.right])
    like_rarity = np.minimum(one.like_rarity[pairs.left], other.like_rarity[pairs.right])
    bits = np.select(
        [agreement == AGREES, agreement == NEARLY, agreement == DIFFERS],
        [clue.agrees * rarity, clue.agrees / 2 * like_rarity, -clue.differs],
        0.0,
    )
    return _Compared(agreement.astype(np.int8), bits)


def _ends_alike(one: str, other: str, tail: int) -> bool:
    """Return whether one text is the end of the other, and at least ``tail`` characters long."""
    return min(len(one), len(other)) >= tail and (one.endswith(other) or other.endswith(one))
