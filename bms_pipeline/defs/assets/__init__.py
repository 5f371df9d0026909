"""The Dagster assets from left to right: extract, reconcile and plan, load."""
