-- Which matched records of {entity} has a complete sweep of BMS shown to be gone, and for how many whole days?
-- A client of Passportal is none while another account linked to it is still there.
SELECT '{entity}' AS entity, m.bms_id, b.name, c.name AS client, m.passportal_id, b.missing_since,
       floor(greatest(epoch($now::TIMESTAMP) - epoch(b.missing_since), 0) / 86400)::BIGINT AS days
FROM sync.matches m
JOIN bms.{entity} b ON b.bms_id = m.bms_id
LEFT JOIN bms.clients c ON {has_client} AND c.bms_id = b.account_id
WHERE m.entity = '{entity}' AND b.missing_since IS NOT NULL
  AND NOT EXISTS (
          FROM sync.matches o
          JOIN bms.{entity} there ON there.bms_id = o.bms_id AND there.missing_since IS NULL
          WHERE o.entity = '{entity}' AND o.passportal_id = m.passportal_id
      )
