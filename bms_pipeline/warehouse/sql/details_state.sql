-- Of how many records of {entity} that are in Passportal are the details known?
SELECT count(*) AS wanted, count(b.details_read_at) AS read, count(b.details_problem) AS problems,
       min(b.details_read_at) AS oldest_read_at
FROM bms.{entity} b
JOIN sync.reconciled_{entity} r ON r.bms_id = b.bms_id
WHERE b.missing_since IS NULL AND r.disposition IN ('matched', 'to_create')
  AND EXISTS (FROM sync.matches m WHERE m.entity = '{entity}' AND m.bms_id = b.bms_id)
