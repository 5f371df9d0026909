-- Which decisions about {entity} changed anything, from what to what? Each becomes a line of the ledger.
INSERT INTO sync.decisions BY NAME
WITH described AS (
    SELECT s.*,
           CASE
               WHEN is_excluded THEN 'excluded'
               ELSE concat_ws(' ', s.disposition, s.partner, '(' || s.reason || ')')
           END AS was,
           CASE
               WHEN EXISTS (FROM sync.exclusions e WHERE e.entity = '{entity}' AND e.bms_id = s.bms_id) THEN 'excluded'
               ELSE concat_ws(' ', r.disposition, r.passportal_id, '(' || r.reason || ')')
           END AS became
    FROM stood_{entity} s LEFT JOIN sync.reconciled_{entity} r ON r.bms_id = s.bms_id
)
SELECT $batch AS batch, $now AS decided_at, $by AS decided_by, verb, '{entity}' AS entity, bms_id,
       CASE WHEN verb IN ('match', 'branch') THEN wanted WHEN verb = 'unmatch' THEN apart_from END AS passportal_id,
       was, became, why
FROM described
WHERE CASE verb
          WHEN 'exclude' THEN NOT is_excluded
          WHEN 'include' THEN is_excluded
          WHEN 'unmatch' THEN apart_from IS NOT NULL AND NOT is_apart
          WHEN 'match' THEN linked_to IS DISTINCT FROM wanted OR changes_link
          WHEN 'branch' THEN linked_to IS DISTINCT FROM wanted OR changes_link
          ELSE (linked_to IS NULL OR link_is_void)
              AND (NOT is_to_be_created OR allow_duplicate AND NOT allows_duplicate)
      END
