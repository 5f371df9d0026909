-- Which updates of {entity} wait for a person, because too many of their client's matched records would change?
UPDATE sync.planned_{entity} SET held_back = true
WHERE operation = 'update' AND NOT needs_approval AND NOT list_contains($expected, reason)
  AND account_id IN (
    SELECT account_id
    FROM (
        SELECT account_id, count(*) AS matched,
               count(*) FILTER (operation = 'update' AND NOT list_contains($expected, reason)) AS updates
        FROM sync.planned_{entity}
        WHERE disposition = 'matched' OR reason = 'became_inactive'
        GROUP BY account_id
    )
    WHERE updates >= $minimum AND updates > $share * matched
)
