"""The use cases which commands, Dagster and the console call: read, plan, approve, load, fetch details, decide."""
