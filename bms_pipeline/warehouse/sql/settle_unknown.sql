-- Which intents on {entity} without outcome took effect, going by the snapshot just taken?
CREATE OR REPLACE TEMP TABLE loaded AS
WITH unknown AS (
         SELECT * FROM sync.journal WHERE entity = $entity AND outcome IS NULL
     ),
     borne AS (
         SELECT u.plan_id, u.bms_id, min(p.passportal_id) AS found_id
         FROM unknown u
         JOIN passportal.{entity} p ON p.bms_id = u.bms_id AND p.client_id IS NOT DISTINCT FROM u.client_id
         WHERE u.operation IN ('create', 'adopt')
            OR len(list_filter(u.changes, lambda e: e."after" IS DISTINCT FROM {present})) = 0
         GROUP BY ALL
     )
SELECT u.*, b.found_id FROM unknown u JOIN borne b USING (plan_id, bms_id)
