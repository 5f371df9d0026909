-- In which state is each input of reconcile and plan that versions.sql does not read?
-- Decisions of people are hashed and not only counted, so that no writer of them is overlooked.
WITH decided AS (
         SELECT 'exclusions' AS what, entity, hash(e) AS h FROM sync.exclusions e
         UNION ALL SELECT 'approved_creates', entity, hash(c) FROM sync.approved_creates c
         UNION ALL SELECT 'non_matches', entity, hash(p) FROM sync.non_matches p
         UNION ALL SELECT 'handed over', entity, hash(o) FROM sync.pending_imports o
     )
SELECT 'input' AS kind, what || '.' || entity AS name, concat_ws(' ', count(*), bit_xor(h)) AS state, NULL AS result
FROM decided
GROUP BY what, entity
UNION ALL SELECT 'input', 'matches.' || entity, concat_ws(' ', count(*), max(matched_at), sum(bms_id)), NULL
          FROM sync.matches GROUP BY entity
UNION ALL SELECT 'input', 'stored settings', concat_ws(' ', count(*), bit_xor(hash(s))), NULL FROM sync.settings s
UNION ALL SELECT 'input', 'account types', concat_ws(' ', count(*), bit_xor(hash(t))), NULL FROM bms.account_types t
