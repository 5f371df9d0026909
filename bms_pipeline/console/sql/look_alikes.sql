-- How many records does the current plan create although Passportal has one of the same or nearly the same name?
SELECT o.entity, count(*) AS records
FROM sync.operations o
JOIN sync.approved_creates a ON a.entity = o.entity AND a.bms_id = o.bms_id AND a.allow_duplicate
WHERE o.operation = 'create'
GROUP BY o.entity
ORDER BY o.entity
