-- Which writes to Passportal have an intent and no outcome?
SELECT entity, bms_id, operation, plan_id, intent_at, left_at, detail
FROM sync.journal
WHERE outcome IS NULL
ORDER BY ALL
