-- What did the last sync count for each entity?
-- That is the newest plan of everything: an undo or a plan for some clients says nothing about the other
-- records. Only where there is none, the newest plan for some clients counts.
SELECT r.entity, {counts}
FROM sync.results r
JOIN sync.plans p ON p.plan_id = r.plan_id
WHERE p.undoes IS NULL
QUALIFY row_number() OVER (PARTITION BY r.entity ORDER BY (p.scope ->> '$.clients') IS NULL DESC, r.plan_id DESC) = 1
