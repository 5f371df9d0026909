"""Kaseya BMS into Passportal, as a Dagster pipeline.

``core.entities`` declares what is synced. ``bms``, ``warehouse``, ``passportal``, ``reconcile``, ``plan`` and ``load``
are the stages from left to right, and ``sync`` runs them. ``defs``, ``cli`` and ``console`` are the ways to start them.
Imports run downwards only.
"""
