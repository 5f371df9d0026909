-- How do these records of {entity} stand, and who decided about them last?
WITH latest AS (
    SELECT bms_id, verb, decided_by, decided_at FROM sync.decisions
    WHERE entity = '{entity}'
    QUALIFY row_number() OVER (PARTITION BY bms_id ORDER BY batch DESC, decided_at DESC) = 1
)
SELECT b.bms_id, b.name, a.name AS client, r.disposition, r.reason, r.passportal_id AS matched_to,
       m.reason AS linked_by,
       EXISTS (FROM sync.exclusions e WHERE e.entity = '{entity}' AND e.bms_id = b.bms_id) AS is_excluded,
       EXISTS (FROM sync.non_matches t WHERE t.entity = '{entity}' AND t.bms_id = b.bms_id) AS is_parted,
       l.verb, l.decided_by, l.decided_at
FROM bms.{entity} b
JOIN sync.reconciled_{entity} r ON r.bms_id = b.bms_id
LEFT JOIN bms.clients a ON a.bms_id = r.account_id AND '{entity}' <> 'clients'
LEFT JOIN sync.matches m ON m.entity = '{entity}' AND m.bms_id = b.bms_id
LEFT JOIN latest l ON l.bms_id = b.bms_id
WHERE list_contains($ids::BIGINT[], b.bms_id)
