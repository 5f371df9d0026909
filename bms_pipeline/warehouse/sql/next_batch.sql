-- Which operations on {entity} come next? One kind to a batch, client by client; a new client's id is known by now.
CREATE OR REPLACE TEMP TABLE batch AS
WITH waiting AS (
         SELECT o.* FROM sync.operations o
         WHERE o.entity = '{entity}' AND o.operation <> 'skip'
           AND NOT EXISTS (FROM sync.journal j WHERE j.plan_id = $plan_id AND j.entity = '{entity}' AND j.bms_id = o.bms_id)
     ),
     chosen AS (SELECT * FROM waiting WHERE (operation = 'create') = (SELECT bool_and(operation = 'create') FROM waiting))
SELECT c.account_id, c.bms_id, c.operation, c.reason, coalesce(c.client_id, m.passportal_id) AS client_id,
       c.passportal_id, c.changes, {has_client} AND coalesce(c.client_id, m.passportal_id) IS NULL AS has_no_client
FROM chosen c
LEFT JOIN sync.matches m ON {has_client} AND m.entity = 'clients' AND m.bms_id = c.account_id
ORDER BY c.account_id, c.bms_id
LIMIT $size
