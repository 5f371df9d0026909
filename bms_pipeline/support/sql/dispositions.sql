-- How many records of {entity} have each disposition and reason, and what became of their operations?
SELECT r.disposition, r.reason, o.operation, c.outcome, count(*) AS records
FROM sync.reconciled_{entity} r
LEFT JOIN sync.planned_{entity} o USING (bms_id)
LEFT JOIN sync.outcomes c ON c.entity = '{entity}' AND c.bms_id = r.bms_id
GROUP BY ALL
ORDER BY ALL
