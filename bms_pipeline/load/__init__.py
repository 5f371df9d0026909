"""Load: execute exactly one saved plan against the target, journalled so that a kill at any point costs nothing."""
