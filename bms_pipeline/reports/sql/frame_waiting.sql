-- Which records wait for a person's decision, since when and why?
SELECT s.entity, s.bms_id, s.name, s.account_id AS client_bms_id, c.name AS client, s.standing, s.reason, b.first_seen
FROM ({standings}) s
LEFT JOIN ({in_bms}) b ON b.entity = s.entity AND b.bms_id = s.bms_id
LEFT JOIN bms.clients c ON c.bms_id = s.account_id
WHERE s.standing IN ({waits_for_person})
ORDER BY list_position(['clients', 'users', 'locations', 'contacts', 'assets'], s.entity), s.bms_id
