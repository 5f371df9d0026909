-- Which records of {entity} that are in Passportal want their details read, most urgent first?
SELECT b.bms_id
FROM bms.{entity} b
JOIN sync.reconciled_{entity} r ON r.bms_id = b.bms_id
WHERE b.missing_since IS NULL
  -- To create with a match: created since it was decided.
  AND r.disposition IN ('matched', 'to_create')
  AND EXISTS (FROM sync.matches m WHERE m.entity = '{entity}' AND m.bms_id = b.bms_id)
  AND (b.details_asked_at IS NULL OR b.changed_at > b.details_asked_at OR b.details_asked_at < $older_than
       OR b.details_problem IS NULL AND NOT {has_keys}
       OR b.details_problem IS NOT NULL AND b.details_asked_at < $problem_before)
ORDER BY CASE WHEN b.details_asked_at IS NULL THEN 1 WHEN b.changed_at > b.details_asked_at THEN 2
              WHEN NOT {has_keys} THEN 3 ELSE 4 END,
         b.details_asked_at, b.bms_id
