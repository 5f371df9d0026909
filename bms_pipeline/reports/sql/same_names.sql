-- Which records of {entity} in Passportal have the same name in the same client, and which one would be kept?
-- First the one linked to BMS, then the best filled, then the newest. A placeholder is no name.
SELECT '{entity}' AS entity, c.name AS client, p.client_id, p.name, p.passportal_id, p.records, m.bms_id AS linked_to,
       p.filled, p.last_modified,
       row_number() OVER (
           PARTITION BY p.client_id, p.real_name_key
           ORDER BY m.bms_id IS NULL, p.filled DESC, p.last_modified DESC NULLS LAST, p.passportal_id
       ) = 1 AS is_suggested
FROM (
    SELECT *, {filled} AS filled, count(*) OVER (PARTITION BY client_id, real_name_key) AS records
    FROM passportal.{entity}
    WHERE real_name_key IS NOT NULL AND (client_id IS NOT NULL OR NOT {has_client})
) p
LEFT JOIN passportal.clients c ON c.passportal_id = p.client_id
LEFT JOIN (
    SELECT passportal_id, min(bms_id) AS bms_id FROM sync.matches WHERE entity = '{entity}' GROUP BY passportal_id
) m ON m.passportal_id = p.passportal_id
WHERE p.records > 1
