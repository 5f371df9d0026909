-- What did loads write last into the field {field} of {entity} while its label was {label}, and was not blanked since?
-- Each such text is blanked once at most: after a load of {cleared} was taken back, it is a person's.
SELECT row(bms_id, last.text)
FROM (
         SELECT bms_id, bool_or(change.field = '{cleared}') AS was_cleared,
                arg_max(struct_pack(text := CASE WHEN undoes IS NULL THEN change."after" END), intent_at)
                    FILTER (change.field = '{field}') AS last
         FROM (
                  SELECT j.bms_id, j.intent_at, p.undoes, unnest(j.changes) AS change,
                         p.mapping::JSON -> '$.{entity}.fields."{word}"' AS rule
                  FROM sync.journal j
                  JOIN sync.plans p ON p.plan_id = j.plan_id
                  WHERE j.entity = '{entity}' AND j.outcome = 'done'
              )
         WHERE change.field = '{cleared}'
            OR change.field = '{field}'
               AND coalesce(
                   CASE WHEN json_type(rule) = 'VARCHAR' THEN rule ->> '$' ELSE rule ->> '$.label' END, {own}
               ) = {label}
         GROUP BY bms_id
     )
WHERE NOT was_cleared AND last.text IS NOT NULL
