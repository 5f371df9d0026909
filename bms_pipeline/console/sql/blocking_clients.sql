-- Which clients do blocked records of {entity} wait for, how many wait, and how does each client stand now?
SELECT r.account_id AS client, c.name, n.disposition, n.reason, count(*) AS records, any_value(r.reason) AS blocked_by
FROM sync.reconciled_{entity} r
LEFT JOIN bms.clients c ON c.bms_id = r.account_id
LEFT JOIN sync.reconciled_clients n ON n.bms_id = r.account_id
WHERE r.disposition = 'blocked'
GROUP BY ALL
ORDER BY records DESC, c.name, client
