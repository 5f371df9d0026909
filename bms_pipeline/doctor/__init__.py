"""Look at both services with few calls that only read, and say what fits, what a person decides, what nobody knows."""
