-- Which records of {entity} stand so, with their client's name and their values?
SELECT r.bms_id, a.name AS client, r.disposition, r.reason, r.passportal_id AS matched_to, {columns}
FROM sync.reconciled_{entity} r
JOIN bms.{entity} b ON b.bms_id = r.bms_id
LEFT JOIN bms.clients a ON a.bms_id = r.account_id AND '{entity}' <> 'clients'
WHERE list_contains($dispositions, r.disposition) AND ($ids IS NULL OR list_contains($ids::BIGINT[], r.bms_id))
ORDER BY client, r.bms_id
