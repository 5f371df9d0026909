-- What does BMS say of each record of {entity}, what is it matched to, and how does it stand?
SELECT b.bms_id, b.account_id AS client_bms_id, c.name AS client, {fields}, b.is_active, b.modified_on, b.first_seen,
       b.changed_at, b.missing_since, b.returned_at, m.passportal_id, s.standing, s.reason
FROM bms.{entity} b
LEFT JOIN sync.matches m ON m.entity = '{entity}' AND m.bms_id = b.bms_id
LEFT JOIN ({standings}) s ON s.entity = '{entity}' AND s.bms_id = b.bms_id
LEFT JOIN bms.clients c ON c.bms_id = b.account_id
ORDER BY b.bms_id
