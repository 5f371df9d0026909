-- What would the plan in the tables do to each field of {entity} that the mapping moves or words otherwise?
-- followed: the value there is the one that we wrote. overwritten: it is not; the count shows that there is none.
WITH changed AS (
         SELECT bms_id, unnest(changes) AS change
         FROM sync.operations
         WHERE entity = '{entity}' AND operation IN ('update', 'adopt')
     ),
     kept AS (SELECT unnest(kept) AS change FROM sync.operations WHERE entity = '{entity}'),
     lacking AS (SELECT unnest(no_place) AS change FROM sync.operations WHERE entity = '{entity}'),
     found AS (
         SELECT change.field AS field,
                CASE
                    WHEN change.before IS NULL THEN 'filled'
                    WHEN change.before = {last} THEN 'followed'
                    ELSE 'overwritten'
                END AS what
         FROM changed
         LEFT JOIN sync.base_{entity} l USING (bms_id)
         UNION ALL
         SELECT change.field, 'kept' FROM kept
         UNION ALL
         SELECT change.field, 'no_place' FROM lacking
     )
SELECT field, count(*) FILTER (WHERE what = 'filled'), count(*) FILTER (WHERE what = 'followed'),
       count(*) FILTER (WHERE what = 'overwritten'), count(*) FILTER (WHERE what = 'kept'),
       count(*) FILTER (WHERE what = 'no_place')
FROM found
WHERE field IN (SELECT unnest($fields))
GROUP BY field
ORDER BY field
