"""DuckDB: the connection, the schema, and landing what was extracted.

Belongs here: everything that knows where the database is and how it is opened. Does not: what is decided about records.
"""
