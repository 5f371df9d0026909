-- What people decided about {entity}, written into the tables that last. Taken back first, then decided anew.
DELETE FROM sync.exclusions WHERE entity = '{entity}' AND bms_id IN (SELECT bms_id FROM stood_{entity} WHERE verb = 'include');

INSERT INTO sync.partings
SELECT '{entity}', bms_id, apart_from, $by, $now FROM stood_{entity} s
WHERE verb = 'unmatch' AND apart_from IS NOT NULL
  AND NOT EXISTS (FROM sync.partings t WHERE t.entity = '{entity}' AND t.bms_id = s.bms_id AND t.passportal_id = s.apart_from);

DELETE FROM sync.creations WHERE entity = '{entity}' AND bms_id IN (SELECT bms_id FROM stood_{entity} WHERE verb = 'unmatch');

DELETE FROM sync.matches WHERE entity = '{entity}' AND bms_id IN (
    SELECT bms_id FROM stood_{entity} WHERE verb = 'unmatch' OR verb IN ('create', 'match') AND link_is_void
);

-- Matched once more to the same record, it goes on from what both held.
DELETE FROM sync.loaded_{entity} WHERE bms_id IN (
    SELECT bms_id FROM stood_{entity}
    WHERE verb = 'unmatch' OR verb IN ('create', 'match') AND link_is_void AND linked_to IS DISTINCT FROM wanted
);

DELETE FROM sync.partings USING stood_{entity} s
WHERE sync.partings.entity = '{entity}' AND s.verb = 'match' AND sync.partings.bms_id = s.bms_id
  AND sync.partings.passportal_id = s.wanted;

INSERT INTO sync.matches
SELECT '{entity}', bms_id, wanted, CASE WHEN partner = wanted THEN reason ELSE 'matched_by_person' END, $now
FROM stood_{entity} s
WHERE verb = 'match' AND NOT EXISTS (FROM sync.matches m WHERE m.entity = '{entity}' AND m.bms_id = s.bms_id);

DELETE FROM sync.creations WHERE entity = '{entity}' AND bms_id IN (
    SELECT bms_id FROM stood_{entity} WHERE verb IN ('create', 'match')
);

INSERT INTO sync.creations
SELECT '{entity}', bms_id, beside OR is_to_be_beside, $by, $now FROM stood_{entity}
WHERE verb = 'create' AND (linked_to IS NULL OR link_is_void);

INSERT INTO sync.exclusions
SELECT '{entity}', bms_id, why, $by, $now FROM stood_{entity} WHERE verb = 'exclude' AND NOT is_excluded
