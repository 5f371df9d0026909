-- Which name has each of $clients, or each linked client where that is NULL? By name.
WITH wanted AS (
    SELECT unnest(coalesce(
        $clients::BIGINT[], (SELECT list(bms_id) FROM sync.matches WHERE entity = 'clients')
    )) AS bms_id
)
SELECT c.bms_id, c.name
FROM bms.clients c
JOIN wanted USING (bms_id)
WHERE c.name IS NOT NULL
ORDER BY c.name, c.bms_id
