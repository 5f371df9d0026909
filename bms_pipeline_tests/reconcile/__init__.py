"""Tests of what is decided about records, and of the plan."""
