-- Which records of {entity} that a load documented does BMS list as inactive, and what does Passportal say of them?
-- says: the value of the field that the mapping lets say so; NULL without one. A client of Passportal is none while
-- another account linked to it is active.
SELECT '{entity}' AS entity, m.bms_id, b.name, CASE WHEN {has_client} THEN b.account_id END AS client_bms_id,
       c.name AS client, m.passportal_id, {says} AS says
FROM sync.matches m
JOIN bms.{entity} b ON b.bms_id = m.bms_id
JOIN passportal.{entity} p ON p.passportal_id = m.passportal_id
LEFT JOIN bms.clients c ON {has_client} AND c.bms_id = b.account_id
WHERE m.entity = '{entity}' AND b.missing_since IS NULL AND NOT b.is_active
  AND EXISTS (FROM sync.base_{entity} l WHERE l.bms_id = m.bms_id)
  AND NOT EXISTS (
          FROM sync.matches o
          JOIN bms.{entity} there ON there.bms_id = o.bms_id AND there.missing_since IS NULL AND there.is_active
          WHERE o.entity = '{entity}' AND o.passportal_id = m.passportal_id
      )
