-- Which tables of the lake consist of so many files that reading them is slow? Asked in PostgreSQL, of its catalog.
-- A file of deleted rows counts only as long as the file that it is about is there.
SELECT s.schema_name || '.' || t.table_name
FROM "{schema}".ducklake_table t
JOIN "{schema}".ducklake_schema s USING (schema_id)
JOIN "{schema}".ducklake_data_file f USING (table_id)
LEFT JOIN "{schema}".ducklake_delete_file d ON d.data_file_id = f.data_file_id AND d.end_snapshot IS NULL
WHERE t.end_snapshot IS NULL AND s.end_snapshot IS NULL AND f.end_snapshot IS NULL
GROUP BY 1
HAVING count(DISTINCT f.data_file_id) + count(d.delete_file_id) > {most}
ORDER BY 1
