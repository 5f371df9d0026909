-- Which tables of the lake consist of so many files that reading them is slow? Asked in PostgreSQL, of its catalog.
SELECT s.schema_name || '.' || t.table_name
FROM "{schema}".ducklake_table t
JOIN "{schema}".ducklake_schema s USING (schema_id)
WHERE t.end_snapshot IS NULL AND s.end_snapshot IS NULL
  AND (SELECT count(*) FROM "{schema}".ducklake_data_file f WHERE f.table_id = t.table_id AND f.end_snapshot IS NULL)
    + (SELECT count(*) FROM "{schema}".ducklake_delete_file d WHERE d.table_id = t.table_id AND d.end_snapshot IS NULL)
    > %s
ORDER BY 1
