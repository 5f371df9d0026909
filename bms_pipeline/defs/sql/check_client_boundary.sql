-- Which links of {entity} lead into a Passportal client that is not linked to the record's BMS account?
-- reconciled: the links as planned; loaded: those of them that are saved, and what this plan has created.
-- (A saved link of a record that moved since is neither: reconcile counts it as moved.)
WITH client AS (SELECT bms_id AS account_id, passportal_id AS linked_client FROM sync.matches WHERE entity = 'clients'
                UNION SELECT bms_id, passportal_id FROM sync.reconciled_clients WHERE disposition = 'matched'),
     reconciled AS (SELECT bms_id, passportal_id FROM sync.reconciled_{entity} WHERE disposition = 'matched'),
     done AS (
         SELECT bms_id FROM sync.journal
         WHERE entity = '{entity}' AND outcome = 'done' AND plan_id = (SELECT max(plan_id) FROM sync.plans)
     ),
     saved AS (SELECT bms_id, passportal_id FROM sync.matches WHERE entity = '{entity}'),
     loaded AS (
         FROM saved SEMI JOIN reconciled USING (bms_id, passportal_id)
         UNION
         FROM saved SEMI JOIN done USING (bms_id)
     )
SELECT link.bms_id, b.name, b.account_id, link.passportal_id, p.client_id AS lies_in,
       string_agg(client.linked_client, ', ' ORDER BY client.linked_client) AS belongs_in
FROM {stage} link
LEFT JOIN bms.{entity} b ON b.bms_id = link.bms_id
LEFT JOIN passportal.{entity} p ON p.passportal_id = link.passportal_id
LEFT JOIN client ON client.account_id = b.account_id
GROUP BY ALL
HAVING NOT coalesce(count(*) = 1 AND bool_and(p.client_id = client.linked_client), false)
