-- Which records of {entity} share a key that exactly one record bears on each side, with nothing against it?
-- Bearers are counted among all records, also those already matched: the last one left over is no proof.
INSERT INTO pairs
WITH one AS (
         SELECT {group}, min(bms_id) AS bms_id FROM record WHERE open_to_match AND {borne}
         GROUP BY ALL HAVING count(*) = 1
     ),
     other AS (
         SELECT {group}, min(passportal_id) AS passportal_id FROM passportal.{entity} WHERE {borne}
         GROUP BY ALL HAVING count(*) = 1
     )
SELECT r.bms_id, p.passportal_id, '{reason}'
FROM one
JOIN other ON {same_group}
JOIN record r ON r.bms_id = one.bms_id
JOIN passportal.{entity} p ON p.passportal_id = other.passportal_id
WHERE r.client_id IS NOT DISTINCT FROM p.client_id
  AND (r.linked_to IS NULL OR r.linked_in IS DISTINCT FROM r.client_id AND NOT r.link_is_gone)
  AND NOT coalesce({contradicted}, false)
  AND NOT EXISTS (FROM pairs WHERE pairs.bms_id = r.bms_id OR pairs.passportal_id = p.passportal_id)
  AND NOT EXISTS (FROM sync.matches m WHERE m.entity = '{entity}' AND m.passportal_id = p.passportal_id)
