-- How far has the first sync come: was anything read, and how does the newest plan stand? One row, whatever is there.
SELECT EXISTS (FROM sync.sweeps WHERE landed_at IS NOT NULL) AS has_read,
       p.operations, p.approved_at IS NOT NULL AS is_approved, p.loaded_at IS NOT NULL AS is_loaded
FROM (SELECT 1) LEFT JOIN (FROM sync.plans ORDER BY plan_id DESC LIMIT 1) p ON true
