-- Which intents on {entity} without outcome took effect, going by the snapshot just taken?
-- A record of Passportal that was to lose its marker has lost it; any other bears the marker inside its client.
WITH unknown AS (
         SELECT * FROM sync.journal WHERE entity = $entity AND outcome IS NULL
     ),
     effective AS (
         SELECT u.plan_id, u.bms_id, min(p.passportal_id) AS found_id
         FROM unknown u
         JOIN passportal.{entity} p
             ON p.bms_id = u.bms_id AND p.client_id IS NOT DISTINCT FROM u.client_id
            AND p.passportal_id IS DISTINCT FROM u.unmark_id
         WHERE u.unmark_id IS DISTINCT FROM u.passportal_id
           AND NOT EXISTS (FROM passportal.{entity} r WHERE r.passportal_id = u.unmark_id AND r.bms_id = u.bms_id)
            OR u.unmark_id IS NULL
         GROUP BY ALL
         HAVING any_value(u.operation) IN ('create', 'adopt') OR bool_or({holds_the_values})
         UNION ALL
         SELECT u.plan_id, u.bms_id, u.unmark_id
         FROM unknown u
         LEFT JOIN passportal.{entity} p ON p.passportal_id = u.unmark_id
         WHERE u.unmark_id = u.passportal_id AND p.bms_id IS DISTINCT FROM u.bms_id AND {holds_the_values}
     )
SELECT u.*, e.found_id FROM unknown u JOIN effective e USING (plan_id, bms_id)
