-- Under which outcome did how many records of each entity count in the newest plan of everything?
UNPIVOT (
    SELECT r.* EXCLUDE (plan_id, counted_at, read)
    FROM sync.results r
    JOIN sync.plans p ON p.plan_id = r.plan_id
    WHERE p.undoes IS NULL AND (p.scope ->> '$.clients') IS NULL
    QUALIFY row_number() OVER (PARTITION BY r.entity ORDER BY r.plan_id DESC) = 1
)
ON COLUMNS(* EXCLUDE (entity)) INTO NAME outcome VALUE records
ORDER BY entity, outcome
