-- Which matched records of {entity} does the snapshot no longer show? Asked before they leave the table.
INSERT INTO sync.vanished
SELECT m.entity, m.bms_id, p.passportal_id, p.client_id, $now
FROM passportal.{entity} p
JOIN sync.matches m ON m.entity = '{entity}' AND m.passportal_id = p.passportal_id
WHERE NOT EXISTS (FROM {found} f WHERE f.passportal_id = p.passportal_id)
