"""Tests of the embedded Passportal."""
