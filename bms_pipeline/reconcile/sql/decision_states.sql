-- How do the records of {entity} stand that people decide about, before anything is written?
CREATE OR REPLACE TEMP TABLE stood_{entity} AS
WITH marked AS (
    SELECT p.bms_id, min(p.passportal_id) AS marked FROM passportal.{entity} p WHERE p.bms_id IS NOT NULL GROUP BY ALL
)
SELECT d.number, d.verb, d.bms_id, d.passportal_id AS wanted, d.allow_duplicate, d.why,
       w.disposition, w.reason, w.client_id, w.passportal_id AS partner,
       m.passportal_id AS linked_to, m.reason AS linked_by,
       coalesce(m.reason = 'branch_by_person', false) AS is_branch,
       -- The decision makes an owner of a branch, or the other way round.
       d.verb IN ('match', 'branch') AND linked_to = wanted AND is_branch <> (d.verb = 'branch') AS changes_link,
       EXISTS (FROM sync.exclusions e WHERE e.entity = '{entity}' AND e.bms_id = d.bms_id) AS is_excluded,
       c.bms_id IS NOT NULL AS is_to_be_created, coalesce(c.allow_duplicate, false) AS allows_duplicate,
       EXISTS (FROM sync.non_matches t WHERE t.entity = '{entity}' AND t.bms_id = d.bms_id) AS is_parted,
       -- Whom an un-matching takes it apart from.
       coalesce(m.passportal_id, w.passportal_id, marked.marked) AS apart_from,
       EXISTS (
           FROM sync.non_matches t
           WHERE t.entity = '{entity}' AND t.bms_id = d.bms_id
             AND t.passportal_id = coalesce(m.passportal_id, w.passportal_id, marked.marked)
       ) AS is_apart,
       -- It moved to another client, or its partner is gone: the link is saved and means nothing.
       m.passportal_id IS NOT NULL
           AND coalesce(w.disposition IN ('unmatched', 'ambiguous', 'to_create'), false) AS link_is_void
FROM decided d
LEFT JOIN before_{entity} w ON w.bms_id = d.bms_id
LEFT JOIN sync.matches m ON m.entity = '{entity}' AND m.bms_id = d.bms_id
LEFT JOIN (
    SELECT bms_id, bool_or(allow_duplicate) AS allow_duplicate
    FROM sync.approved_creates
    WHERE entity = '{entity}'
    GROUP BY ALL
) c ON c.bms_id = d.bms_id
LEFT JOIN marked ON marked.bms_id = d.bms_id
WHERE d.entity = '{entity}'
