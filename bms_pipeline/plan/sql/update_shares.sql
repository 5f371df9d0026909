-- How many of each entity's matched records would the current plan update, because they changed?
-- What became inactive is out of scope and no longer among the matched ones, so its update counts on both sides.
SELECT entity, count(*) FILTER (operation = 'update' AND NOT list_contains($expected, reason)),
       count(*) FILTER (disposition = 'matched' OR reason = 'became_inactive')
FROM sync.operations
GROUP BY entity
ORDER BY entity
