-- What is the current plan, how many operations of each kind does it hold, and how many are left?
SELECT p.plan_id, p.hash, p.made_at, p.operations, counted.*, p.approved_at, p.approved_by, p.loaded_at, p.undoes
FROM sync.plans p
CROSS JOIN (
    SELECT count(*) FILTER (o.operation = 'create') AS creates, count(*) FILTER (o.operation = 'adopt') AS adopts,
           count(*) FILTER (o.operation = 'update') AS updates, count(*) FILTER (s.outcome = 'pending') AS pending,
           count(*) FILTER (s.outcome = 'pending' AND s.waits_for_person) AS waits_for_person
    FROM sync.operations o
    JOIN sync.outcomes s ON s.entity = o.entity AND s.bms_id = o.bms_id
) counted
WHERE p.plan_id = (SELECT max(plan_id) FROM sync.plans)
