"""What "identical names" means, once, in Python and in SQL.

Two names are identical when they are equal after Unicode NFKC, case folding, trimming and collapsing white space
(the integration page: "Users must have identical names for this to work"). ``fold_name`` is the definition; the SQL
takes a short cut for names in plain ASCII and calls ``fold_name`` for the rest.
"""

from __future__ import annotations

import contextlib
import unicodedata

import duckdb

BLANKS = (
    "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""Every character that counts as white space; looking for them takes a tenth of a second at each start."""


def fold_name(name: str) -> str | None:
    """``name`` as it is compared; None for a blank one, because blank never equals blank."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return " ".join(folded.split()) or None


def name_key(name_sql: str) -> str:
    """SQL for ``fold_name(name_sql)``.

    Plain ASCII without white space to collapse needs only ``lower`` and ``trim``: nearly every name, at a tenth of the
    time.
    """
    plain = f"regexp_full_match({name_sql}, '[!-~]+( [!-~]+)*')"
    return f"CASE WHEN {plain} THEN lower({name_sql}) ELSE nullif(fold_name({name_sql}), '') END"


def fold_name_for_sql(name: str) -> str:
    """``fold_name`` as DuckDB can call it: a function there must not return NULL for a value."""
    return fold_name(name) or ""


def make_known(connection: duckdb.DuckDBPyConnection) -> None:
    """Let SQL call ``fold_name``. Raises ``duckdb.TransactionException`` while another thread is doing that."""
    with contextlib.suppress(duckdb.CatalogException, duckdb.NotImplementedException):  # it is known already
        connection.create_function("fold_name", fold_name_for_sql, ["VARCHAR"], "VARCHAR")


def value(text_sql: str) -> str:
    """SQL for a value as it is kept: without white space around it, NULL if that leaves nothing."""
    # Looking at both ends first is three times as fast as letting trim compare them with every blank there is.
    visible = "BETWEEN 33 AND 126"
    return (
        f"CASE WHEN ord({text_sql}) {visible} AND ord(right({text_sql}, 1)) {visible} THEN {text_sql}"
        f" ELSE nullif(trim({text_sql}, '{BLANKS}'), '') END"
    )


LEGAL_SUFFIXES = (
    "ab", "ag", "bv", "co", "company", "corp", "corporation", "gmbh", "inc", "incorporated", "limited", "llc", "llp",
    "ltd", "nv", "oy", "plc", "pty", "sa", "sarl", "srl",
)  # fmt: skip


# Where what looks like an accent to Unicode is a vowel, and dropping it makes one name of two.
SCRIPTS_WITH_VOWEL_SIGNS = (
    "Bengali", "Devanagari", "Gujarati", "Gurmukhi", "Kannada", "Khmer", "Lao", "Malayalam", "Myanmar", "Oriya",
    "Sinhala", "Tamil", "Telugu", "Thai", "Tibetan",
)  # fmt: skip


def loose_key(key_sql: str) -> str:
    """SQL for the near-identity of a name key: accents, punctuation, ``&``/and, legal suffixes and word order gone.

    Never a match by itself: it only keeps a record from being created beside what may be the same one.
    """
    signs = "".join(rf"\p{{{each}}}" for each in SCRIPTS_WITH_VOWEL_SIGNS)
    accented = f"strlen({key_sql}) > length({key_sql}) AND NOT regexp_matches({key_sql}, '[{signs}]')"
    bare = f"CASE WHEN {accented} THEN strip_accents({key_sql}) ELSE {key_sql} END"
    words = (
        f"string_split(regexp_replace(replace({bare}, '&', ' and '),"
        r" '[^\p{L}\p{M}\p{N}]+', ' ', 'g'), ' ')"
    )
    suffixes = ", ".join(repr(each) for each in LEGAL_SUFFIXES)
    kept = f"list_filter({words}, lambda word: word <> '' AND word NOT IN ({suffixes}))"
    # NULL for no words. (array_to_string is a macro that repeats its argument: planning it took three times as long.)
    return f"list_aggregate(list_sort({kept}), 'string_agg', ' ')"
