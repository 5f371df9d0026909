"""The basics every other package may import."""
