"""Dagster: thin assets, checks, jobs and resources over the verbs of ``sync``. No rule about a record is here.

Modules whose functions take Dagster's ``context`` do not use ``from __future__ import annotations``: Dagster compares
this annotation as it finds it.
"""
