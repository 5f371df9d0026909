"""The guard: who gets in, and which launches count as a person's word."""
