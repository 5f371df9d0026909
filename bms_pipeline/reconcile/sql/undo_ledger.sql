-- Which decisions about {entity} does an undo take back, and how do the records stand after it?
-- Each becomes a line of the ledger.
INSERT INTO sync.decisions BY NAME
WITH ids AS (SELECT unnest($ids::BIGINT[]) AS bms_id)
SELECT $batch AS batch, $now AS decided_at, $by AS decided_by, 'undo' AS verb, '{entity}' AS entity, ids.bms_id,
       NULL AS passportal_id,
       concat_ws(' ', w.disposition, w.passportal_id, '(' || w.reason || ')') AS was,
       concat_ws(' ', r.disposition, r.passportal_id, '(' || r.reason || ')') AS became,
       'takes back decision ' || $undone AS why
FROM ids
LEFT JOIN before_{entity} w USING (bms_id)
LEFT JOIN sync.reconciled_{entity} r USING (bms_id)
