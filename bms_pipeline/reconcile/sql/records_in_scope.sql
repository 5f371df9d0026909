-- Which records of {entity} does BMS have now, in which Passportal client do they belong, and what settles them early?
CREATE OR REPLACE TEMP TABLE record AS
WITH excluded AS (SELECT DISTINCT bms_id, true AS is_excluded FROM sync.exclusions WHERE entity = '{entity}'),
     matched AS (
         SELECT m.bms_id, m.passportal_id AS linked_to, p.client_id AS linked_in,
                p.passportal_id IS NULL AS link_is_gone, l.bms_id IS NULL AS link_is_new,
                m.reason AS linked_by, m.matched_at, l.bms_name AS loaded_name,
                m.reason = 'branch_by_person' AS is_branch,
                is_branch AND NOT EXISTS (
                    FROM sync.matches o
                    WHERE o.entity = m.entity AND o.passportal_id = m.passportal_id AND o.reason <> 'branch_by_person'
                ) AS lacks_owner
         FROM sync.matches m
         LEFT JOIN passportal.{entity} p ON p.passportal_id = m.passportal_id
         LEFT JOIN sync.base_{entity} l ON l.bms_id = m.bms_id
         WHERE m.entity = '{entity}'
     ),
     unknown AS (SELECT DISTINCT bms_id FROM sync.journal WHERE entity = '{entity}' AND outcome IS NULL),
     -- Clients of Passportal whose account is gone from BMS, or inactive.
     deserted AS (
         SELECT m.passportal_id
         FROM sync.matches m JOIN bms.clients b ON b.bms_id = m.bms_id
         WHERE m.entity = 'clients'
         GROUP BY ALL HAVING bool_and(b.missing_since IS NOT NULL OR NOT b.is_active)
     ),
     creation AS (
         SELECT bms_id, bool_or(allow_duplicate) AS allow_duplicate
         FROM sync.approved_creates
         WHERE entity = '{entity}'
         GROUP BY ALL
     ),
     parted AS (
         SELECT DISTINCT t.bms_id, p.client_id AS parted_in
         FROM sync.non_matches t JOIN passportal.{entity} p ON p.passportal_id = t.passportal_id
         WHERE t.entity = '{entity}'
     )
SELECT b.bms_id, b.account_id, CASE WHEN {has_client} THEN b.account_id END AS parent_id, b.name, b.first_seen{keys},
       c.passportal_id AS client_id,
       -- Its former account is gone, so BMS may have merged that into this one.
       {has_client} AND m.linked_to IS NOT NULL AND (m.linked_in IS DISTINCT FROM c.passportal_id)
           AND m.linked_in IN (FROM deserted) AS is_merged,
       -- BMS gave its id to somebody else, after it had been gone.
       {has_company_name}
           AND CASE WHEN b.returned_at > m.matched_at THEN is_other_name(m.loaded_name, b.name) ELSE false END
           AS is_another,
       m.linked_to, m.linked_in, coalesce(m.link_is_gone, false) AS link_is_gone, m.link_is_new, m.linked_by,
       coalesce(m.is_branch, false) AS is_branch, coalesce(m.lacks_owner, false) AS lacks_owner,
       CASE
           WHEN {sync_off} THEN 'sync_is_off'
           WHEN {inactive} THEN 'inactive'
           WHEN {wrong_type} THEN CASE WHEN {vendor} THEN 'vendor' ELSE 'account_type' END
           WHEN {wrong_category} THEN 'category'
           WHEN {not_chosen} THEN 'client_not_chosen'
           WHEN {has_client} AND c.disposition = 'out_of_scope' THEN 'client_out_of_scope'
           WHEN b.left_client_since IS NOT NULL THEN 'left_its_client'
       END AS out_of_scope,
       -- Nothing but its being inactive puts it out of scope.
       {inactive} AND NOT {sync_off} AND NOT {wrong_category} AND b.left_client_since IS NULL AS is_only_inactive,
       coalesce(e.is_excluded, false) AS excluded,
       CASE
           WHEN u.bms_id IS NOT NULL THEN 'write_unknown'
           WHEN {not_listed} THEN 'not_listed_in_passportal'
           WHEN NOT {has_client} THEN NULL
           WHEN c.bms_id IS NULL THEN 'client_not_listed'
           WHEN c.reason = 'write_unknown' THEN 'client_write_unknown'
           WHEN c.disposition NOT IN ('matched', 'to_create') THEN 'client_' || c.disposition
           WHEN c.disposition = 'to_create' AND {clients_handed_over} THEN 'client_not_in_passportal'
       END AS blocked,
       coalesce(c.needs_approval, false) AS client_by_person,
       w.bms_id IS NOT NULL AS wanted, coalesce(w.allow_duplicate, false) AS wanted_duplicate,
       parted.bms_id IS NOT NULL AS is_parted,
       out_of_scope IS NULL AND NOT excluded AND blocked IS NULL AS open_to_match,
       -- Counts as one of several of its name or serial, also where this run does not look at it.
       NOT {inactive} AND NOT {wrong_type} AND NOT excluded AND b.left_client_since IS NULL AS is_bearer,
       -- Without a match, or with one in a client that its account is no longer matched to.
       linked_to IS NULL OR (linked_in IS DISTINCT FROM c.passportal_id) AND NOT m.link_is_gone AS is_free
FROM bms.{entity} b
LEFT JOIN {client} c ON {has_client} AND c.bms_id = b.account_id
LEFT JOIN bms.account_types t ON t.id = b.account_type_id
LEFT JOIN matched m ON m.bms_id = b.bms_id
LEFT JOIN excluded e ON e.bms_id = b.bms_id
LEFT JOIN unknown u ON u.bms_id = b.bms_id
LEFT JOIN creation w ON w.bms_id = b.bms_id
LEFT JOIN parted ON parted.bms_id = b.bms_id AND parted.parted_in IS NOT DISTINCT FROM c.passportal_id
WHERE b.missing_since IS NULL
