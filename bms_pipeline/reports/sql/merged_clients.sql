-- Which accounts has BMS probably merged into which, going by records of {entity} that came out of one that is gone?
SELECT '{entity}' AS entity, former.bms_id AS former_id, former.name AS former, r.account_id, b.name AS client,
       count(*) AS records
FROM sync.reconciled_{entity} r
JOIN sync.matches m ON m.entity = '{entity}' AND m.bms_id = r.bms_id
JOIN passportal.{entity} p ON p.passportal_id = m.passportal_id
JOIN sync.matches c ON c.entity = 'clients' AND c.passportal_id = p.client_id
JOIN bms.clients former ON former.bms_id = c.bms_id
JOIN bms.clients b ON b.bms_id = r.account_id
WHERE r.reason = 'client_merged'
GROUP BY ALL
