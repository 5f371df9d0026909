-- How many operations would change something, and what is their hash? Order-free: each row is hashed, then combined.
WITH hashed AS (
    SELECT entity, count(*) AS operations,
           bit_xor(md5_number(concat_ws(chr(31), operation, bms_id, client_id, passportal_id, changes::VARCHAR))) AS combined
    FROM sync.operations
    WHERE operation <> 'skip'
    GROUP BY entity
)
SELECT coalesce(sum(operations), 0), md5(coalesce(string_agg(concat_ws(':', entity, operations, combined), ',' ORDER BY entity), ''))
FROM hashed
