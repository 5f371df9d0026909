"""The use cases that both shells call, from a person's side."""
