-- In which clients does the current plan hold back how many updates of which entity?
SELECT o.entity, o.account_id AS client_bms_id, c.name AS client, count(*) AS updates
FROM sync.operations o
LEFT JOIN bms.clients c ON c.bms_id = o.account_id
WHERE o.held_back AND o.reason <> 'documents_vanished'
GROUP BY ALL
ORDER BY updates DESC, o.entity, o.account_id
