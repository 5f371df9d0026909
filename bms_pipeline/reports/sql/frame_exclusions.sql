-- Which records did people exclude, who, when and why?
SELECT x.entity, x.bms_id, b.name, b.account_id AS client_bms_id, c.name AS client, x.reason, x.decided_by, x.decided_at
FROM sync.exclusions x
LEFT JOIN ({in_bms}) b ON b.entity = x.entity AND b.bms_id = x.bms_id
LEFT JOIN bms.clients c ON c.bms_id = b.account_id
ORDER BY list_position(['clients', 'users', 'locations', 'contacts', 'assets'], x.entity), x.bms_id
