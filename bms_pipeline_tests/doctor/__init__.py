"""``doctor`` against both pairs of services: what it says, how few calls it makes, and that it writes nothing."""
