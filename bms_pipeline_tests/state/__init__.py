"""Tests of what lies next to the database, in both places where it may lie."""
