-- For which entities are clearly fewer of the records in scope linked than on average in the {days} days before?
WITH rate AS (
    SELECT entity, plan_id, counted_at, read - excluded - out_of_scope AS in_scope,
           (created + adopted + updated + unchanged) / nullif(read - excluded - out_of_scope, 0) AS linked
    FROM sync.results
    JOIN sync.plans USING (plan_id)
    -- An undo, or a plan for some clients, says nothing about all records.
    WHERE undoes IS NULL AND (scope ->> '$.clients') IS NULL
),
newest AS (SELECT * FROM rate QUALIFY row_number() OVER (PARTITION BY entity ORDER BY plan_id DESC) = 1)
SELECT newest.entity, newest.in_scope, round(newest.linked, 3) AS linked, round(avg(rate.linked), 3) AS linked_before
FROM newest
JOIN rate ON rate.entity = newest.entity AND rate.plan_id < newest.plan_id
         AND rate.counted_at > newest.counted_at - INTERVAL {days} DAY AND rate.in_scope >= {fewest}
WHERE newest.in_scope >= {fewest}
GROUP BY ALL
HAVING newest.linked < avg(rate.linked) - {drop}
