"""The target: one protocol, and the stores that fulfil it. Knows nothing of matching or plans."""
