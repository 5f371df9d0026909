-- Which open records of {entity} did no rule match, and which free records of Passportal look like them?
-- What a person took apart from a record no longer looks like it.
CREATE OR REPLACE TEMP TABLE leftover AS
WITH remaining AS (SELECT r.* FROM record r ANTI JOIN pairs USING (bms_id) WHERE r.open_to_match AND r.is_free),
     taken AS (
         SELECT passportal_id FROM pairs UNION ALL SELECT passportal_id FROM sync.matches WHERE entity = '{entity}'
     ),
     free AS MATERIALIZED (
         SELECT p.passportal_id, p.client_id, p.name_key, p.loose_key, p.letters_key
         FROM passportal.{entity} p ANTI JOIN taken USING (passportal_id)
         WHERE p.name_key IS NOT NULL AND p.bms_id IS NULL AND (p.client_id IS NOT NULL OR NOT {has_client})
           AND EXISTS (FROM remaining r WHERE r.client_id IS NOT DISTINCT FROM p.client_id)
     ),
     namesakes AS (SELECT client_id, name_key, count(*) AS free_namesakes FROM free GROUP BY ALL),
     near AS (SELECT client_id, loose_key, count(*) AS records FROM free GROUP BY ALL),
     spelled AS (SELECT client_id, letters_key, count(*) AS records FROM free GROUP BY ALL),
     -- Matched to a record that is gone from BMS: somebody may have entered that again.
     orphaned AS (
         SELECT p.client_id, p.loose_key, count(*) AS records
         FROM sync.matches m
         JOIN bms.{entity} b ON b.bms_id = m.bms_id AND b.missing_since IS NOT NULL
         JOIN passportal.{entity} p ON p.passportal_id = m.passportal_id
         WHERE m.entity = '{entity}' AND {every_twin}
         GROUP BY ALL
     ),
     twins AS (
         SELECT client_id, parent_id, name_key, count(*) AS bms_twins
         FROM record r
         WHERE is_bearer AND name_key IS NOT NULL
           AND ({every_twin} OR EXISTS (FROM namesakes n WHERE n.client_id = r.client_id AND n.name_key = r.name_key))
         GROUP BY ALL
     ),
     -- Several accounts of one client have the name: their records may be one and the same.
     shared AS (
         SELECT client_id, name_key
         FROM record
         WHERE is_bearer AND name_key IS NOT NULL AND client_id IN (
                   SELECT passportal_id FROM sync.matches WHERE entity = 'clients' GROUP BY ALL HAVING count(*) > 1
               )
         GROUP BY ALL HAVING count(DISTINCT account_id) > 1
     ),
     parted AS (
         SELECT r.bms_id, count(*) FILTER (p.name_key = r.name_key) AS namesakes,
                count(*) FILTER (p.loose_key = r.loose_key) AS near,
                count(*) FILTER (p.letters_key = r.letters_key) AS spelled
         FROM sync.non_matches t
         JOIN remaining r ON r.bms_id = t.bms_id
         JOIN free p ON p.passportal_id = t.passportal_id AND p.client_id IS NOT DISTINCT FROM r.client_id
         WHERE t.entity = '{entity}'
         GROUP BY ALL
     )
SELECT r.bms_id, coalesce(n.free_namesakes, 0) - coalesce(parted.namesakes, 0) AS free_namesakes,
       coalesce(t.bms_twins, 0) AS bms_twins,
       greatest(coalesce(near.records, 0) - coalesce(parted.near, 0),
                coalesce(spelled.records, 0) - coalesce(parted.spelled, 0)) AS near_namesakes,
       coalesce(orphaned.records, 0) AS gone_namesakes, shared.name_key IS NOT NULL AS is_shared
FROM remaining r
LEFT JOIN namesakes n ON n.client_id IS NOT DISTINCT FROM r.client_id AND n.name_key = r.name_key
LEFT JOIN twins t
    ON t.client_id IS NOT DISTINCT FROM r.client_id AND t.parent_id IS NOT DISTINCT FROM r.parent_id
   AND t.name_key = r.name_key
LEFT JOIN near ON near.client_id IS NOT DISTINCT FROM r.client_id AND near.loose_key = r.loose_key
LEFT JOIN orphaned ON orphaned.client_id IS NOT DISTINCT FROM r.client_id AND orphaned.loose_key = r.loose_key
LEFT JOIN spelled ON spelled.client_id IS NOT DISTINCT FROM r.client_id AND spelled.letters_key = r.letters_key
LEFT JOIN shared ON shared.client_id = r.client_id AND shared.name_key = r.name_key
LEFT JOIN parted ON parted.bms_id = r.bms_id
