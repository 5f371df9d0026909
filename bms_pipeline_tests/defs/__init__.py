"""The Dagster shell: what it loads, and whole runs against the sandbox."""
