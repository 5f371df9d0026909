"""What runs inside Dagster's own processes: run launcher, event log, daemon."""
