"""Kaseya BMS into Passportal, as a Dagster pipeline.

``entities`` declares what is synced; ``bms``, ``warehouse``, ``passportal``, ``reconcile`` and ``load`` are the stages
from left to right; ``defs`` and ``cli`` are the two ways to start them. Imports run downwards only.
"""
