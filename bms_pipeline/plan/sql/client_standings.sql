-- How many records inside each client have which standing, those clients first where something is refused or waits?
SELECT s.account_id AS bms_id, any_value(c.name) AS name, {counted}
FROM ({standings}) s
LEFT JOIN bms.clients c ON c.bms_id = s.account_id
WHERE s.account_id IS NOT NULL
GROUP BY s.account_id
HAVING count(*) FILTER (s.standing <> 'out of scope') > 0
ORDER BY {first}, s.account_id
