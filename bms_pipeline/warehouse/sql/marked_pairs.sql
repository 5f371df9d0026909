-- Which records of {entity} are there already, by the marker that an earlier load left inside their client?
-- A marker that several records carry tells nothing: a person has to say which one keeps it.
CREATE OR REPLACE TEMP TABLE marked AS
SELECT r.bms_id, min(p.passportal_id) AS passportal_id, count(*) AS carriers
FROM record r
JOIN passportal.{entity} p ON p.bms_id = r.bms_id
WHERE r.open_to_match AND r.is_free AND r.client_id IS NOT DISTINCT FROM p.client_id
  AND (r.client_id IS NOT NULL OR NOT {has_client})
  AND NOT EXISTS (FROM sync.matches m WHERE m.entity = '{entity}' AND m.passportal_id = p.passportal_id AND m.bms_id <> r.bms_id)
  AND NOT EXISTS (FROM sync.partings t WHERE t.entity = '{entity}' AND t.bms_id = r.bms_id AND t.passportal_id = p.passportal_id)
GROUP BY r.bms_id;

INSERT INTO pairs SELECT bms_id, passportal_id, 'bms_marker' FROM marked WHERE carriers = 1
