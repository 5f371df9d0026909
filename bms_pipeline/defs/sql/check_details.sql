-- Which records of {entity} have been in Passportal for more than {days} days, and nobody ever asked for their details?
SELECT b.bms_id, b.name, m.matched_at
FROM bms.{entity} b
JOIN sync.reconciled_{entity} r ON r.bms_id = b.bms_id AND r.disposition = 'matched'
JOIN sync.matches m ON m.entity = '{entity}' AND m.bms_id = b.bms_id
WHERE b.missing_since IS NULL AND b.details_asked_at IS NULL
  AND m.matched_at < (now() AT TIME ZONE 'UTC') - INTERVAL {days} DAY
ORDER BY m.matched_at, b.bms_id
