-- Which operations of plan $plan_id were carried out, of those that a page asks for, in the order of writing?
-- An intent that was not sent has a later one, so it is left out. Only the lines of one page are looked up.
WITH record AS ({records}),
     found AS (
         SELECT j.rowid AS line
         FROM sync.journal j
         WHERE j.plan_id = $plan_id
           AND j.outcome IS DISTINCT FROM 'not_sent'
           AND coalesce(j.entity = $entity, true)
           AND coalesce(j.operation = $operation, true)
           AND coalesce(coalesce(j.outcome, 'unknown') = $outcome, true)
           AND {of_records}
     ),
     shown AS (SELECT * FROM found ORDER BY line LIMIT $most OFFSET $skipped)
SELECT j.entity, j.bms_id, r.name, r.account_id AS client_bms_id, c.name AS client, j.passportal_id, j.operation,
       j.reason, coalesce(j.outcome, 'unknown') AS outcome, j.detail, j.changes, j.intent_at,
       (SELECT count(*) FROM found) AS found
FROM shown
JOIN sync.journal j ON j.rowid = shown.line
LEFT JOIN record r ON r.entity = j.entity AND r.bms_id = j.bms_id
LEFT JOIN bms.clients c ON c.bms_id = r.account_id
ORDER BY shown.line
