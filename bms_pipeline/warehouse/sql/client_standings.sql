-- How many records of each client are in sync, excluded, waiting, blocked or failing, by the current plan?
SELECT o.account_id AS bms_id, any_value(c.name) AS name, {counted}
FROM sync.outcomes o
LEFT JOIN bms.clients c ON c.bms_id = o.account_id
WHERE o.account_id IS NOT NULL
GROUP BY o.account_id
HAVING count(*) FILTER (o.outcome <> 'out_of_scope') > 0
ORDER BY failing DESC, waiting DESC, blocked DESC, o.account_id
