"""Tests of files that spreadsheet programs wrote."""
