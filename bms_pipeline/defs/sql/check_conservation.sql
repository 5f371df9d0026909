-- Which entities of the current plan have records that are not accounted for exactly once?
WITH plan AS (SELECT * FROM sync.plans ORDER BY plan_id DESC LIMIT 1),
     entity AS (SELECT unnest(from_json(scope -> '$.entities', '["VARCHAR"]')) AS entity FROM plan),
     stored AS ({stored}),
     planned AS (
         SELECT entity, count(*) AS planned, count(DISTINCT bms_id) AS distinct_records
         FROM sync.operations
         GROUP BY entity
     ),
     counted AS (
         SELECT entity, read, {outcomes} AS explained FROM sync.results WHERE plan_id = (SELECT plan_id FROM plan)
     )
SELECT entity, stored, coalesce(planned, 0) AS planned, coalesce(distinct_records, 0) AS distinct_records,
       coalesce(read, 0) AS read, coalesce(explained, 0) AS explained
FROM entity
LEFT JOIN stored USING (entity)
LEFT JOIN planned USING (entity)
LEFT JOIN counted USING (entity)
WHERE NOT (coalesce(stored, 0) = coalesce(planned, 0) AND coalesce(planned, 0) = coalesce(distinct_records, 0)
           AND coalesce(planned, 0) = coalesce(read, 0) AND coalesce(read, 0) = coalesce(explained, 0))
