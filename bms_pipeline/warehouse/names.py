"""What "identical names" means, once, in Python and in SQL.

Two names are identical when they are equal after Unicode NFKC, case folding, trimming and collapsing white space
(the integration page: "Users must have identical names for this to work"). ``fold_name`` is the definition; the SQL
takes a short cut for names in plain ASCII and calls ``fold_name`` for the rest.
"""

from __future__ import annotations

import unicodedata


def fold_name(name: str) -> str | None:
    """``name`` as it is compared; None for a blank one, because blank never equals blank."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return " ".join(folded.split()) or None


def name_key(name_sql: str) -> str:
    """SQL for ``fold_name(name_sql)``.

    Plain ASCII without white space to collapse needs only ``lower`` and ``trim``: nearly every name, at a tenth of the
    time.
    """
    plain = f"regexp_full_match({name_sql}, '[!-~]*( [!-~]+)*')"
    return f"CASE WHEN {plain} THEN nullif(lower({name_sql}), '') ELSE fold_name({name_sql}) END"


LEGAL_SUFFIXES = (
    "ab", "ag", "bv", "co", "company", "corp", "corporation", "gmbh", "inc", "incorporated", "limited", "llc", "llp",
    "ltd", "nv", "oy", "plc", "pty", "sa", "sarl", "srl",
)  # fmt: skip


def loose_key(key_sql: str) -> str:
    """SQL for the near-identity of a name key: accents, punctuation, ``&``/and, legal suffixes and word order gone.

    Never a match by itself: it only keeps a record from being created beside what may be the same one.
    """
    words = (
        f"string_split(regexp_replace(replace(strip_accents({key_sql}), '&', ' and '),"
        r" '[^\p{L}\p{N}]+', ' ', 'g'), ' ')"
    )
    suffixes = ", ".join(repr(each) for each in LEGAL_SUFFIXES)
    kept = f"list_filter({words}, lambda word: word <> '' AND word NOT IN ({suffixes}))"
    return f"nullif(array_to_string(list_sort({kept}), ' '), '')"
