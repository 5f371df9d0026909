-- Which records of Passportal carry a BMS id of {entity} that another one carries, too?
-- Not counted: documents that a person took apart from that id, and the one left behind when a record moved to another
-- client.
SELECT '{entity}' AS entity, p.bms_id, p.passportal_id, p.client_id, p.name, m.bms_id IS NOT NULL AS is_matched
FROM passportal.{entity} p
LEFT JOIN sync.matches m ON m.entity = '{entity}' AND m.bms_id = p.bms_id AND m.passportal_id = p.passportal_id
WHERE p.bms_id IS NOT NULL
  AND NOT EXISTS (
      FROM sync.non_matches t WHERE t.entity = '{entity}' AND t.bms_id = p.bms_id AND t.passportal_id = p.passportal_id
  )
  AND NOT EXISTS (FROM sync.former_base_{entity} l WHERE l.bms_id = p.bms_id AND l.passportal_id = p.passportal_id)
QUALIFY count(*) OVER (PARTITION BY p.bms_id) > 1
