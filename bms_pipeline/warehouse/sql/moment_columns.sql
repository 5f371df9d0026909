-- Which columns hold moments that this machine's clock wrote?
SELECT schema_name || '.' || table_name AS name, list(column_name ORDER BY column_name) AS columns
FROM duckdb_columns()
SEMI JOIN duckdb_tables() USING (database_name, schema_name, table_name)
WHERE database_name = current_database() AND schema_name IN ('bms', 'sync') AND data_type = 'TIMESTAMP'
  AND table_name <> 'future_moments'
GROUP BY ALL
ORDER BY name
