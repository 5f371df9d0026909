-- How many matched records of {entity} went missing in BMS since a plan was last loaded or closed, and of how many?
-- Only a whole plan counts that covered the entity: one for some clients, or an undo, says nothing about the rest.
-- An interrupted load counts from its intents, because its outcomes are settled only after the next sweep.
WITH whole AS (
         SELECT plan_id, loaded_at FROM sync.plans
         WHERE undoes IS NULL AND (scope ->> '$.clients') IS NULL
           AND list_contains((scope -> '$.entities')::VARCHAR[], '{entity}')
     ),
     base AS (
         SELECT max(passed_at) AS passed_at
         FROM (
             SELECT loaded_at AS passed_at FROM whole
             UNION ALL
             SELECT j.intent_at FROM sync.journal j JOIN whole USING (plan_id) WHERE j.outcome = 'done'
         )
     )
SELECT count(*) FILTER (b.missing_since > base.passed_at), count(*)
FROM sync.matches m
JOIN bms.{entity} b ON b.bms_id = m.bms_id
CROSS JOIN base
WHERE m.entity = '{entity}' AND (b.missing_since IS NULL OR b.missing_since > base.passed_at)
