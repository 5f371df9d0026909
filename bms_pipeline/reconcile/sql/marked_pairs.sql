-- Which records of {entity} are there already, by the marker that an earlier load left inside their client?
-- A marker that several records carry tells nothing: a person has to say which one keeps it.
-- An id that others wrote counts as one only where the two agree: same client, and the same name or serial number.
CREATE OR REPLACE TEMP TABLE marked AS
WITH carrier AS (
         SELECT *, bms_id AS carried_id, true AS is_marker FROM passportal.{entity} WHERE bms_id IS NOT NULL
         UNION ALL
         SELECT *, claimed_id, false FROM passportal.{entity} c
         WHERE bms_id IS NULL AND claimed_id IS NOT NULL
           AND NOT EXISTS (FROM passportal.{entity} m WHERE m.bms_id = c.claimed_id)
     )
SELECT r.bms_id, min(p.passportal_id) AS passportal_id, count(*) AS carriers, bool_and(is_marker) AS is_marker
FROM record r
JOIN carrier p ON p.carried_id = r.bms_id
WHERE (is_marker OR coalesce({agrees}, false)) AND r.open_to_match AND r.is_free
  AND r.client_id IS NOT DISTINCT FROM p.client_id
  AND (r.client_id IS NOT NULL OR NOT {has_client})
  AND NOT EXISTS (
          FROM sync.matches m
          WHERE m.entity = '{entity}' AND m.passportal_id = p.passportal_id AND m.bms_id <> r.bms_id
      )
  AND NOT EXISTS (
          FROM sync.non_matches t
          WHERE t.entity = '{entity}' AND t.bms_id = r.bms_id AND t.passportal_id = p.passportal_id
      )
GROUP BY r.bms_id;

INSERT INTO pairs
SELECT bms_id, passportal_id, CASE WHEN is_marker THEN 'bms_marker' ELSE 'integration_id_agrees' END
FROM marked
WHERE carriers = 1
