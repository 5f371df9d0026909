-- Which plan is $plan_id, when was it loaded by whom, and which plan takes it back?
SELECT p.plan_id, p.hash, p.made_at, p.loaded_at, p.approved_by, p.operations, p.undoes,
       (SELECT max(u.plan_id) FROM sync.plans u WHERE u.undoes = p.plan_id AND u.loaded_at IS NOT NULL) AS undone_by
FROM sync.plans p
WHERE p.plan_id = $plan_id AND EXISTS (FROM sync.journal j WHERE j.plan_id = p.plan_id)
