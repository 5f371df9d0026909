"""The sandbox: its tenant, its answers, its faults."""
