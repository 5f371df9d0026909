-- How many of each entity's matched records would the current plan update, because they changed?
SELECT entity, count(*) FILTER (operation = 'update' AND NOT list_contains($expected, reason)),
       count(*) FILTER (disposition = 'matched')
FROM sync.operations
GROUP BY entity
ORDER BY entity
