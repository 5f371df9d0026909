"""Tests of the documentation: references, glossary, links."""
