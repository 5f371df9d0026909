-- Which records are shown where there is room for $most, and what does the plan do to them?
-- The first of each entity and kind comes first of all, then the clients take turns: none gets its second record before
-- every other has its first, and each starts with one record of each kind.
WITH turns AS (
         SELECT *, row_number() OVER (PARTITION BY entity, kind ORDER BY bms_id) > 1 AS has_forerunner,
                row_number() OVER (PARTITION BY account_id, entity, kind ORDER BY bms_id) AS turn
         FROM to_show
     ),
     rounds AS (
         SELECT *, row_number() OVER (
                    PARTITION BY account_id
                    ORDER BY turn, list_position(['create', 'update', 'adopt', 'decide', 'keep', 'excluded'], kind),
                             entity
                ) AS round
         FROM turns
     ),
     chosen AS (SELECT * FROM rounds ORDER BY has_forerunner, round, account_id, entity, bms_id LIMIT $most)
SELECT o.*, chosen.kind, c.name AS client
FROM chosen
JOIN sync.operations o ON o.entity = chosen.entity AND o.bms_id = chosen.bms_id
LEFT JOIN bms.clients c ON c.bms_id = o.account_id
ORDER BY list_position(['clients', 'users', 'locations', 'contacts', 'assets'], o.entity),
         list_position(['create', 'adopt', 'update', 'keep', 'decide', 'excluded'], chosen.kind), o.bms_id
