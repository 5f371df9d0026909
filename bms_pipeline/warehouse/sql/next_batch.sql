-- Which operations on {entity} come next? One kind to a batch, client by client; a new client's id is known by now.
CREATE OR REPLACE TEMP TABLE batch AS
WITH waiting AS (
         SELECT bms_id, account_id, operation FROM sync.planned_{entity} o
         WHERE operation <> 'skip' AND ($approved OR NOT {waits})
           AND ($clients IS NULL OR account_id IN (SELECT unnest($clients)))
           AND NOT EXISTS (FROM sync.journal j WHERE j.plan_id = $plan_id AND j.entity = '{entity}' AND j.bms_id = o.bms_id)
     ),
     chosen AS MATERIALIZED (
         SELECT bms_id FROM waiting
         WHERE (operation = 'create') = (SELECT bool_and(operation = 'create') FROM waiting)
         ORDER BY account_id, bms_id
         LIMIT $size
     )
SELECT o.account_id, o.bms_id, o.operation, o.reason, coalesce(o.client_id, m.passportal_id) AS client_id,
       o.passportal_id, {changes} AS changes, o.replaces, o.releases,
       {has_client} AND coalesce(o.client_id, m.passportal_id) IS NULL AS has_no_client
FROM sync.planned_{entity} o
JOIN chosen ON chosen.bms_id = o.bms_id
LEFT JOIN sync.matches m ON {has_client} AND m.entity = 'clients' AND m.bms_id = o.account_id
