-- Which records of {entity} does BMS have now, in which Passportal client do they belong, and what settles them early?
CREATE OR REPLACE TEMP TABLE record AS
WITH excluded AS (SELECT DISTINCT bms_id, true AS is_excluded FROM sync.exclusions WHERE entity = '{entity}'),
     matched AS (
         SELECT m.bms_id, m.passportal_id AS linked_to, p.client_id AS linked_in, p.passportal_id IS NULL AS link_is_gone
         FROM sync.matches m LEFT JOIN passportal.{entity} p ON p.passportal_id = m.passportal_id
         WHERE m.entity = '{entity}'
     )
SELECT b.bms_id, b.account_id, CASE WHEN {has_client} THEN b.account_id END AS parent_id, b.name_key, b.first_seen{keys},
       c.passportal_id AS client_id,
       m.linked_to, m.linked_in, coalesce(m.link_is_gone, false) AS link_is_gone,
       CASE
           WHEN {not_selected} THEN 'not_selected'
           WHEN {sync_off} THEN 'sync_is_off'
           WHEN NOT b.is_active THEN 'inactive'
           WHEN {wrong_type} THEN 'account_type'
           WHEN {has_client} AND c.disposition = 'out of scope' THEN 'client_out_of_scope'
       END AS out_of_scope,
       coalesce(e.is_excluded, false) AS excluded,
       CASE
           WHEN NOT {has_client} THEN NULL
           WHEN c.bms_id IS NULL THEN 'client_not_listed'
           WHEN c.disposition NOT IN ('matched', 'to create') THEN 'client_' || replace(c.disposition, ' ', '_')
       END AS blocked,
       out_of_scope IS NULL AND NOT excluded AND blocked IS NULL AS open_to_match,
       -- Counts as one of several of its name or serial, also where this run does not look at it.
       b.is_active AND NOT {wrong_type} AND NOT excluded AS is_bearer,
       -- Without a match, or with one in a client that its account is no longer matched to.
       linked_to IS NULL OR linked_in IS DISTINCT FROM c.passportal_id AND NOT m.link_is_gone AS is_free
FROM bms.{entity} b
LEFT JOIN {client} c ON {has_client} AND c.bms_id = b.account_id
LEFT JOIN bms.account_types t ON t.id = b.account_type_id
LEFT JOIN matched m ON m.bms_id = b.bms_id
LEFT JOIN excluded e ON e.bms_id = b.bms_id
WHERE b.missing_since IS NULL
