"""Repeatable measurements, each printing ratios within one run: seconds differ between machines, ratios hardly do."""
