-- How does each record of {entity} stand that was handed over for an import?
SELECT h.entity, h.bms_id, h.name, h.file, h.handed_over_at,
       CASE
           WHEN EXISTS (FROM sync.matches m WHERE m.entity = h.entity AND m.bms_id = h.bms_id) THEN 'adopted'
           WHEN EXISTS (FROM sync.exclusions e WHERE e.entity = h.entity AND e.bms_id = h.bms_id) THEN 'excluded'
           WHEN b.missing_since IS NOT NULL THEN 'gone from BMS'
           WHEN EXISTS (FROM passportal.{entity} p WHERE p.name_key = b.name_key) THEN 'listed'
           ELSE 'handed over'
       END AS state
FROM sync.pending_imports h
LEFT JOIN bms.{entity} b ON b.bms_id = h.bms_id
WHERE h.entity = '{entity}' AND h.reissued_at IS NULL
