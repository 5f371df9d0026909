-- How far has the first sync come: was anything read, and how does the newest plan stand? One row, whatever is there.
-- to_load: the operations left; a load client by client leaves fewer each time.
SELECT EXISTS (FROM sync.sweeps WHERE landed_at IS NOT NULL) AS has_read,
       p.loaded_at IS NOT NULL OR p.approved_at IS NOT NULL AND p.discarded_at IS NULL AS is_approved,
       CASE
           WHEN p.loaded_at IS NULL AND p.discarded_at IS NULL THEN coalesce(p.operations, 0) - (
               SELECT count(*)
               FROM (
                   SELECT DISTINCT j.entity, j.bms_id
                   FROM sync.journal j
                   WHERE j.plan_id = p.plan_id AND j.outcome IS NOT NULL
               )
           )
           ELSE 0
       END AS to_load
FROM (SELECT 1)
LEFT JOIN (SELECT * FROM sync.plans ORDER BY plan_id DESC LIMIT 1) p ON true
