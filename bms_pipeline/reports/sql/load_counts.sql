-- How many operations of plan $plan_id had which outcome, for each entity?
SELECT entity, {counts}
FROM sync.journal j
WHERE plan_id = $plan_id
GROUP BY entity
ORDER BY list_position(['clients', 'users', 'locations', 'contacts', 'assets'], entity)
