-- What became of each operation that a load of any plan began? Without an answer it is unknown.
SELECT j.plan_id, j.entity, j.bms_id, b.name, b.account_id AS client_bms_id, j.operation, j.reason,
       coalesce(j.outcome, 'unknown') AS outcome, j.detail, j.passportal_id, j.changes, j.intent_at, j.outcome_at
FROM sync.journal j
LEFT JOIN ({in_bms}) b ON b.entity = j.entity AND b.bms_id = j.bms_id
ORDER BY j.plan_id, j.intent_at, j.entity, j.bms_id
