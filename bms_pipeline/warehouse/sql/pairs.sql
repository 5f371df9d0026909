-- Which records of {entity} share a key that exactly one record bears on each side, with nothing against it?
-- Bearers are counted among all records, also those already matched: the last one left over is no proof.
INSERT INTO pairs
WITH one AS (
         SELECT {group}, any_value(client_id) AS inside, any_value(bms_id) AS bms_id, any_value(is_free) AS is_free{evidence}
         FROM record WHERE open_to_match AND {borne}
         GROUP BY {group} HAVING count(*) = 1
     ),
     other AS (
         SELECT {group}, any_value(client_id) AS inside, any_value(passportal_id) AS passportal_id{evidence}
         FROM passportal.{entity} WHERE {borne}
         GROUP BY {group} HAVING count(*) = 1
     )
SELECT one.bms_id, other.passportal_id, '{reason}'
FROM one
JOIN other ON {same_group}
WHERE one.is_free AND one.inside IS NOT DISTINCT FROM other.inside
  AND NOT coalesce({contradicted}, false)
  AND NOT EXISTS (FROM pairs WHERE pairs.bms_id = one.bms_id)
  AND NOT EXISTS (FROM pairs WHERE pairs.passportal_id = other.passportal_id)
  AND NOT EXISTS (FROM sync.matches m WHERE m.entity = '{entity}' AND m.passportal_id = other.passportal_id)
