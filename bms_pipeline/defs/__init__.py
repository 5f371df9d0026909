"""Dagster: thin assets, checks, jobs and resources over the verbs of ``sync``. No rule about a record lives here.

Modules whose functions take Dagster's ``context`` do without ``from __future__ import annotations``: Dagster compares
that annotation as it finds it.
"""
