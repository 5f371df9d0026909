"""One way to find the true partners of labelled records: ``python -m benchmarks.suggestions WAY KIND RECORDS FILE``.

``WAY``: ``fill`` (a warehouse file for the next), ``ours``, ``bare`` or ``splink``; ``KIND``: ``companies`` or
``people``. Prints one JSON line: seconds without imports, peak memory in MiB, and the share of records whose partner
came first (``top1``) or among the first five (``top5``); ours also how often it is right at which score.
"""

from __future__ import annotations

import itertools
import json
import logging
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from benchmarks.labelled_pairs import Labelled, Record, companies, people
from bms_pipeline.core.entities import BY_NAME, Entity
from bms_pipeline.warehouse import keys, names
from bms_pipeline.warehouse.connection import Warehouse

KINDS: dict[str, tuple[Callable[[int], Labelled], Entity]] = {
    "companies": (companies, BY_NAME["clients"]),
    "people": (people, BY_NAME["contacts"]),
}
BANDS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
CLIENT, ACCOUNT = "C1", 1
"""All people are contacts of one client: the hardest case, and the one that the other ways are given."""


def fill(kind: str, count: int, file: Path) -> dict[str, Any]:
    """Write a warehouse in which every record on the left is unmatched and every one on the right is free."""
    make, entity = KINDS[kind]
    with Warehouse(file).transaction() as connection:
        store(connection, entity, make(count))
    return {}


def store(connection: duckdb.DuckDBPyConnection, entity: Entity, labelled: Labelled) -> None:
    """Put both sides into ``entity``'s tables: BMS id n is ``left[n]``, Passportal id ``P<n>`` is ``right[n]``."""
    client = CLIENT if entity.has_client else None
    bms = [{"bms_id": n, "account_id": ACCOUNT, **each} for n, each in enumerate(labelled.left)]
    passportal = [{"passportal_id": f"P{n}", "client_id": client, **each} for n, each in enumerate(labelled.right)]
    _insert(connection, entity, f"bms.{entity.name}", bms)
    _insert(connection, entity, f"passportal.{entity.name}", passportal)
    connection.execute(
        f"INSERT INTO sync.reconciled_{entity.name} BY NAME SELECT bms_id, account_id, $client AS client_id,"
        f" 'unmatched' AS disposition FROM bms.{entity.name}",
        {"client": client},
    )


def _insert(
    connection: duckdb.DuckDBPyConnection, entity: Entity, table: str, rows: Sequence[Mapping[str, Any]]
) -> None:
    columns = dict.fromkeys([*(key for each in rows for key in each), *entity.columns])
    structure = [{each: "BIGINT" if each in ("bms_id", "account_id") else "VARCHAR" for each in columns}]
    records = f"SELECT unnest(from_json($rows, '{json.dumps(structure)}'), recursive := true)"
    connection.execute(f"INSERT INTO {table} BY NAME {keys.with_keys(entity, records)}", {"rows": json.dumps([*rows])})


def ours(kind: str, count: int, file: Path) -> dict[str, Any]:
    """``suggest`` for all records of a warehouse file."""
    from bms_pipeline.reconcile.suggestions import suggest_partners

    make, entity = KINDS[kind]
    with Warehouse(file).open() as connection:
        began = time.perf_counter()
        found = suggest_partners(connection, entity)
        measured = _spent(began)
    labelled = make(count)
    ranked = [[int(each.passportal_id[1:]) for each in found[n]] for n in range(count)]
    right = [order[:1] == [partner] for order, partner in zip(ranked, labelled.partner, strict=True)]
    scores = [found[n][0].score if found[n] else 0.0 for n in range(count)]
    return {**measured, **_recall(ranked, labelled), "bands": _bands(scores, right)}


def _bands(scores: Sequence[float], right: Sequence[bool]) -> list[tuple[str, int, float]]:
    """For each band of scores: its name, how many first suggestions lie in it, and the share that is right."""
    bands = []
    for low, high in itertools.pairwise(BANDS):
        hits = [hit for score, hit in zip(scores, right, strict=True) if low <= score and (score < high or high == 1.0)]
        bands.append((f"{low:.2f}-{high:.2f}", len(hits), sum(hits) / len(hits) if hits else 0.0))
    return bands


def bare(kind: str, count: int, _: Path) -> dict[str, Any]:
    """What a few lines do: trigrams of the names as written, 20 candidates, re-ranked by token-sort ratio."""
    import numpy as np
    from rapidfuzz import fuzz, process
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sparse_dot_topn import sp_matmul_topn

    labelled = KINDS[kind][0](count)
    left, right = ([(each["name"] or "").lower() for each in side] for side in (labelled.left, labelled.right))
    began = time.perf_counter()
    vectors = TfidfVectorizer(analyzer="char", ngram_range=(3, 3), dtype=np.float32).fit_transform(left + right)
    best = sp_matmul_topn(vectors[: len(left)], vectors[len(left) :].T.tocsr(), top_n=20, sort=True)
    ranked = []
    for n, name in enumerate(left):
        candidates = best.indices[best.indptr[n] : best.indptr[n + 1]]
        again = process.extract(name, [right[each] for each in candidates], scorer=fuzz.token_sort_ratio, limit=5)
        ranked.append([int(candidates[position]) for _, _, position in again])
    return {**_spent(began), **_recall(ranked, labelled)}


def splink(kind: str, count: int, _: Path) -> dict[str, Any]:
    """Splink 5 on DuckDB: blocked on first letters and shared values, Jaro-Winkler levels, trained as documented."""
    import pandas
    from splink import DuckDBAPI, Linker, SettingsCreator, block_on

    labelled = KINDS[kind][0](count)
    prepared, model = (_company_model if kind == "companies" else _people_model)()
    rows = [
        pandas.DataFrame([{"unique_id": n, **prepared(each)} for n, each in enumerate(side)])
        for side in (labelled.left, labelled.right)
    ]
    logging.disable(logging.CRITICAL)
    began = time.perf_counter()
    api = DuckDBAPI()
    tables = [api.register(each, dataset_display_name=name) for name, each in zip("lr", rows, strict=True)]
    settings = SettingsCreator(
        link_type="link_only",
        comparisons=model["comparisons"],
        blocking_rules_to_generate_predictions=model["blocks"],
        retain_matching_columns=False,
    )
    linker = Linker(tables, settings, log_level=None)
    linker.training.estimate_probability_two_random_records_match(model["certain"], recall=0.7)
    linker.training.estimate_u_using_random_sampling(max_pairs=1e6)
    for column in model["train_on"]:
        linker.training.estimate_parameters_using_expectation_maximisation(block_on(column))
    predicted = linker.inference.predict().as_pandas_dataframe()
    best = (
        predicted.sort_values(["match_weight", "unique_id_r"], ascending=[False, True]).groupby("unique_id_l").head(5)
    )
    measured = _spent(began)
    ranked: list[list[int]] = [[] for _ in labelled.left]
    for one, other in zip(best["unique_id_l"], best["unique_id_r"], strict=True):
        ranked[one].append(other)
    return {**measured, **_recall(ranked, labelled)}


def _company_model() -> tuple[Callable[[Record], dict[str, Any]], dict[str, Any]]:
    """How a company is prepared for Splink, and its model."""
    from splink import block_on
    from splink.comparison_library import ArrayIntersectAtSizes, JaroWinklerAtThresholds

    def prepared(record: Record) -> dict[str, Any]:
        words = (record["name"] or "").lower().replace("&", " and ").replace(",", " ").replace("-", " ").split()
        kept = [each.strip(".") for each in words if each.strip(".") not in {*names.LEGAL_FORMS, "and"}] or words
        return {"name": " ".join(kept), "words": kept, "start": kept[0][:4], "end": kept[-1], "sorted": min(kept)}

    return prepared, {
        "comparisons": [
            JaroWinklerAtThresholds("name", [0.95, 0.88, 0.8, 0.7]),
            ArrayIntersectAtSizes("words", [3, 2, 1]),
        ],
        "blocks": [block_on("start"), block_on("sorted"), block_on("words", arrays_to_explode=["words"])],
        "certain": [block_on("name")],
        "train_on": ["start", "end"],
    }


def _people_model() -> tuple[Callable[[Record], dict[str, Any]], dict[str, Any]]:
    """How a person is prepared for Splink, and the model."""
    from splink import block_on
    from splink.comparison_library import EmailComparison, ExactMatch, JaroWinklerAtThresholds

    def prepared(record: Record) -> dict[str, Any]:
        first, _, last = (record["name"] or "").lower().partition(" ")
        phone = "".join(each for each in record["phone"] or "" if each.isdigit())[-9:]
        return {
            "first": first,
            "last": last,
            "email": record["email"],
            "phone": phone or None,
            "job_title": record["job_title"],
        }

    return prepared, {
        "comparisons": [
            JaroWinklerAtThresholds("first", [0.92, 0.8]),
            JaroWinklerAtThresholds("last", [0.92, 0.8]),
            EmailComparison("email"),
            ExactMatch("phone"),
            ExactMatch("job_title").configure(term_frequency_adjustments=True),
        ],
        "blocks": [
            block_on("email"),
            block_on("phone"),
            block_on("last"),
            block_on("first", "substr(last, 1, 1)"),
            block_on("substr(first, 1, 3)", "substr(last, 1, 3)"),
        ],
        "certain": [block_on("email"), block_on("phone")],
        "train_on": ["last", "first"],
    }


def _recall(ranked: Sequence[Sequence[int]], labelled: Labelled) -> dict[str, float]:
    pairs = list(zip(ranked, labelled.partner, strict=True))
    return {f"top{first}": sum(partner in order[:first] for order, partner in pairs) / len(pairs) for first in (1, 5)}


def _spent(began: float) -> dict[str, float]:
    return {
        "seconds": time.perf_counter() - began,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


WAYS: dict[str, Callable[[str, int, Path], dict[str, Any]]] = {
    "fill": fill,
    "ours": ours,
    "bare": bare,
    "splink": splink,
}

if __name__ == "__main__":
    print(json.dumps(WAYS[sys.argv[1]](sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))))
