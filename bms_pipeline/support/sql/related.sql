-- Which records of {entity} does matching look at together with those that are chosen already?
-- Same key: {keys}. The keys of names count inside a client alone.
WITH known AS (
         SELECT 'bms' AS side, b.bms_id::VARCHAR AS id,
                CASE WHEN {has_client} THEN coalesce(r.client_id, 'account ' || b.account_id) END AS inside, {columns}
         FROM bms.{entity} b LEFT JOIN sync.reconciled_{entity} r ON r.bms_id = b.bms_id
         UNION ALL
         SELECT 'passportal', passportal_id, client_id, {columns} FROM passportal.{entity} b
     ),
     linked AS (
         SELECT bms_id::VARCHAR AS bms_id, passportal_id FROM sync.matches WHERE entity = '{entity}'
         UNION ALL SELECT bms_id::VARCHAR, passportal_id FROM sync.non_matches WHERE entity = '{entity}'
         UNION ALL SELECT bms_id::VARCHAR, passportal_id FROM passportal.{entity} WHERE bms_id IS NOT NULL
         UNION ALL SELECT claimed_id::VARCHAR, passportal_id FROM passportal.{entity} WHERE claimed_id IS NOT NULL
     ),
     chosen AS (SELECT k.* FROM known k SEMI JOIN chosen_{entity} c ON c.side = k.side AND c.id = k.id),
     related AS (
         {same_keys}
         UNION ALL
         SELECT 'passportal', passportal_id FROM linked
         WHERE bms_id IN (SELECT id FROM chosen_{entity} WHERE side = 'bms')
         UNION ALL
         SELECT 'bms', bms_id FROM linked
         WHERE passportal_id IN (SELECT id FROM chosen_{entity} WHERE side = 'passportal')
     )
INSERT INTO chosen_{entity}
SELECT DISTINCT side, id, false FROM related ANTI JOIN chosen_{entity} USING (side, id)
