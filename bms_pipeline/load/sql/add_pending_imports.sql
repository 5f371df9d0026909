-- Which creates of {entity} go into $file? Each record once, with its intent and outcome in the journal.
INSERT INTO sync.pending_imports BY NAME
SELECT '{entity}' AS entity, o.bms_id, o.name, to_json({record}) AS record, $file AS file, $now AS handed_over_at
FROM sync.planned_{entity} o
WHERE o.operation = 'create' AND ($approved OR NOT {waits})
  AND NOT EXISTS (FROM sync.journal j WHERE j.plan_id = $plan_id AND j.entity = '{entity}' AND j.bms_id = o.bms_id)
  AND NOT EXISTS (
      FROM sync.pending_imports h WHERE h.entity = '{entity}' AND h.bms_id = o.bms_id AND h.reissued_at IS NULL
  );
INSERT INTO sync.journal BY NAME
SELECT $plan_id AS plan_id, '{entity}' AS entity, o.bms_id, o.operation, o.reason, o.client_id, {changes} AS changes,
       $now AS intent_at, 'handed_over' AS outcome, $now AS outcome_at, h.file AS detail
FROM sync.planned_{entity} o
JOIN sync.pending_imports h ON h.entity = '{entity}' AND h.bms_id = o.bms_id AND h.reissued_at IS NULL
WHERE o.operation = 'create' AND ($approved OR NOT {waits})
  AND NOT EXISTS (FROM sync.journal j WHERE j.plan_id = $plan_id AND j.entity = '{entity}' AND j.bms_id = o.bms_id)
