-- What would the plan in the tables do to each field of {entity} that the mapping moves or words otherwise?
-- followed: the value there is the one that we wrote. overwritten: it is not; the count shows that there is none.
SELECT field, count(*) FILTER (what = 'filled'), count(*) FILTER (what = 'followed'),
       count(*) FILTER (what = 'overwritten'), count(*) FILTER (what = 'kept'), count(*) FILTER (what = 'no_place')
FROM (
    SELECT change.field,
           CASE
               WHEN change.before IS NULL THEN 'filled'
               WHEN change.before IS NOT DISTINCT FROM {last} THEN 'followed'
               ELSE 'overwritten'
           END AS what
    FROM (
        SELECT bms_id, operation, unnest(changes) AS change
        FROM sync.operations WHERE entity = '{entity}' AND operation IN ('update', 'adopt')
    )
    LEFT JOIN sync.base_{entity} l USING (bms_id)
    UNION ALL
    SELECT unnest(kept).field, 'kept' FROM sync.operations WHERE entity = '{entity}'
    UNION ALL
    SELECT unnest(no_place).field, 'no_place' FROM sync.operations WHERE entity = '{entity}'
)
WHERE field IN (SELECT unnest($fields))
GROUP BY field
ORDER BY field
