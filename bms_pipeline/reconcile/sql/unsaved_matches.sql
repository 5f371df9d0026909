-- Which matches of {entity} have the rules found that are not saved as lasting links?
SELECT r.bms_id, r.passportal_id
FROM sync.reconciled_{entity} r
WHERE r.disposition = 'matched'
  AND NOT EXISTS (
      FROM sync.matches m
      WHERE m.entity = '{entity}' AND m.bms_id = r.bms_id AND m.passportal_id = r.passportal_id
  )
ORDER BY r.bms_id
