-- What has to change in the tables that last, so that they hold each decision of people about {entity}?
-- What a decision ends is removed first; what it begins is added then.
DELETE FROM sync.exclusions
WHERE entity = '{entity}' AND bms_id IN (SELECT bms_id FROM stood_{entity} WHERE verb = 'include');

INSERT INTO sync.non_matches
SELECT '{entity}', bms_id, apart_from, $by, $now FROM stood_{entity} s
WHERE verb = 'unmatch' AND apart_from IS NOT NULL
  AND NOT EXISTS (
      FROM sync.non_matches t
      WHERE t.entity = '{entity}' AND t.bms_id = s.bms_id AND t.passportal_id = s.apart_from
  );

DELETE FROM sync.approved_creates
WHERE entity = '{entity}' AND bms_id IN (SELECT bms_id FROM stood_{entity} WHERE verb = 'unmatch');

DELETE FROM sync.matches WHERE entity = '{entity}' AND bms_id IN (
    SELECT bms_id FROM stood_{entity} WHERE verb = 'unmatch' OR verb IN ('create', 'match', 'branch') AND link_is_void
);

-- Matched once more to the same record, it goes on from what both held.
DELETE FROM sync.base_{entity} WHERE bms_id IN (
    SELECT bms_id FROM stood_{entity}
    WHERE verb = 'unmatch' OR verb IN ('create', 'match', 'branch') AND link_is_void
          AND (linked_to IS DISTINCT FROM wanted OR changes_link)
);

DELETE FROM sync.non_matches USING stood_{entity} s
WHERE sync.non_matches.entity = '{entity}' AND s.verb IN ('match', 'branch') AND sync.non_matches.bms_id = s.bms_id
  AND sync.non_matches.passportal_id = s.wanted;

INSERT INTO sync.matches
SELECT '{entity}', bms_id, wanted,
       CASE
           WHEN verb = 'branch' THEN 'branch_by_person'
           WHEN partner = wanted AND NOT is_branch THEN reason
           ELSE 'matched_by_person'
       END, $now
FROM stood_{entity} s
WHERE verb IN ('match', 'branch')
  AND NOT EXISTS (FROM sync.matches m WHERE m.entity = '{entity}' AND m.bms_id = s.bms_id);

DELETE FROM sync.approved_creates WHERE entity = '{entity}' AND bms_id IN (
    SELECT bms_id FROM stood_{entity} WHERE verb IN ('create', 'match', 'branch')
);

INSERT INTO sync.approved_creates
SELECT '{entity}', bms_id, allow_duplicate OR allows_duplicate, $by, $now FROM stood_{entity}
WHERE verb = 'create' AND (linked_to IS NULL OR link_is_void);

INSERT INTO sync.exclusions
SELECT '{entity}', bms_id, why, $by, $now FROM stood_{entity} WHERE verb = 'exclude' AND NOT is_excluded
