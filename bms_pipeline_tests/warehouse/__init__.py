"""Tests of the warehouse: names, landing, the connection."""
