"""Tests of loading a plan: repeated, disturbed, refused."""
