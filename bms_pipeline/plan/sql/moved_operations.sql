-- Which operations on {entity} would a plan made now not have, or have otherwise than the saved one?
SELECT bms_id, coalesce(now.name, was.name), was.operation, now.operation, now.reason,
       list_filter([{changed}], lambda e: e IS NOT NULL)
FROM saved_{entity} was
FULL JOIN sync.planned_{entity} now USING (bms_id)
WHERE (coalesce(was.operation, 'skip') <> 'skip' OR coalesce(now.operation, 'skip') <> 'skip')
  AND NOT coalesce({same}, false)
  -- It waits for the next plan, whatever became of the write.
  AND coalesce(was.reason NOT IN ('write_unknown', 'client_write_unknown'), true)
ORDER BY bms_id
