"""Spreadsheets as people save them, CSV and XLSX: lines and cells. What the cells mean is for the callers to say."""
