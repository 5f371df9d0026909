-- Which record of BMS is matched to which record of Passportal, why, and since when?
SELECT m.entity, m.bms_id, b.name, b.account_id AS client_bms_id, c.name AS client, m.passportal_id,
       p.name AS passportal_name, m.reason, m.matched_at, b.missing_since
FROM sync.matches m
LEFT JOIN ({in_bms}) b ON b.entity = m.entity AND b.bms_id = m.bms_id
LEFT JOIN ({in_passportal}) p ON p.entity = m.entity AND p.passportal_id = m.passportal_id
LEFT JOIN bms.clients c ON c.bms_id = b.account_id
ORDER BY list_position(['clients', 'users', 'locations', 'contacts', 'assets'], m.entity), m.bms_id
