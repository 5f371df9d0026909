"""Spreadsheets as people save them, CSV and XLSX: lines and cells. The callers interpret the cells."""
