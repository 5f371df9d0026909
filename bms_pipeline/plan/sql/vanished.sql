-- Of which share of its matched records of {entity} did one snapshot stop showing, in all and in each client?
-- A person who approved a whole plan since has seen it. Only records count that are still matched.
WITH approved AS (
         SELECT max(made_at) AS at
         FROM sync.plans
         WHERE approved_at IS NOT NULL AND undoes IS NULL AND (scope ->> '$.clients') IS NULL
           AND list_contains((scope -> '$.entities')::VARCHAR[], '{entity}')
     ),
     hidden AS (
         SELECT v.client_id, v.vanished_at, count(*) AS vanished
         FROM sync.vanished v
         JOIN sync.matches m
             ON m.entity = v.entity AND m.bms_id = v.bms_id AND m.passportal_id = v.passportal_id
         CROSS JOIN approved
         WHERE v.entity = '{entity}' AND coalesce(v.vanished_at > approved.at, true)
         GROUP BY ALL
     ),
     listed AS (
         SELECT p.client_id, count(*) AS records
         FROM sync.matches m
         JOIN passportal.{entity} p ON p.passportal_id = m.passportal_id
         WHERE m.entity = '{entity}' AND EXISTS (FROM hidden)
         GROUP BY ALL
     ),
     counted AS (
         SELECT NULL::VARCHAR AS client_id, vanished_at, sum(vanished) AS vanished,
                sum(vanished) + coalesce((SELECT sum(records) FROM listed), 0) AS matched, $share AS share,
                $minimum AS minimum
         FROM hidden
         GROUP BY vanished_at
         UNION ALL
         SELECT h.client_id, h.vanished_at, h.vanished, h.vanished + coalesce(l.records, 0), $client_share,
                -- All of a small client at once is no chance.
                CASE WHEN l.records IS NULL THEN $whole_client ELSE $minimum END
         FROM hidden h
         LEFT JOIN listed l ON l.client_id = h.client_id
         WHERE h.client_id IS NOT NULL
     )
SELECT '{entity}' AS entity, c.client_id, owner.bms_id AS client_bms_id, b.name AS client,
       c.vanished::BIGINT AS vanished,
       c.matched::BIGINT AS matched, c.vanished_at
FROM counted c
LEFT JOIN sync.matches owner
    ON owner.entity = 'clients' AND owner.passportal_id = c.client_id AND owner.reason <> 'branch_by_person'
LEFT JOIN bms.clients b ON b.bms_id = owner.bms_id
WHERE c.vanished >= c.minimum AND c.vanished > c.share * c.matched
ORDER BY c.client_id NULLS FIRST, c.vanished_at
