"""The commands for a terminal and for scripts, and what they print."""
