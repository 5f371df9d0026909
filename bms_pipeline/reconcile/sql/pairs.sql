-- Which records of {entity} share a key that exactly one record bears on each side, with nothing against it?
-- Bearers are counted among all records, also those already matched: the last one left over is no proof. A record of
-- Passportal with another BMS record's marker is that one's.
INSERT INTO {table}
WITH other AS (
         SELECT {group}, any_value(client_id) AS inside, any_value(passportal_id) AS passportal_id,
                any_value(bms_id) AS marker{evidence}
         FROM passportal.{entity} WHERE {borne}
         GROUP BY {group} HAVING count(*) = 1
     ),
     one AS (
         SELECT other.passportal_id, any_value(r.bms_id) AS bms_id,
                bool_and(r.open_to_match AND r.is_free AND r.client_id IS NOT DISTINCT FROM other.inside
                         AND (r.client_id IS NOT NULL OR NOT {has_client})
                         AND coalesce(other.marker = r.bms_id, true) AND NOT coalesce({contradicted}, false)) AS fits
         FROM other JOIN record r ON {same_group}
         WHERE r.is_bearer
         GROUP BY other.passportal_id HAVING count(*) = 1
     )
SELECT bms_id, passportal_id, '{reason}'
FROM one
WHERE fits
  AND NOT EXISTS (FROM pairs WHERE pairs.bms_id = one.bms_id)
  AND NOT EXISTS (FROM pairs WHERE pairs.passportal_id = one.passportal_id)
  AND NOT EXISTS (FROM sync.matches m WHERE m.entity = '{entity}' AND m.passportal_id = one.passportal_id)
  AND NOT EXISTS (
      FROM sync.non_matches t
      WHERE t.entity = '{entity}' AND t.bms_id = one.bms_id AND t.passportal_id = one.passportal_id
  )
