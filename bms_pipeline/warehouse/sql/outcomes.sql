-- Under which outcome does each record of the current plan count? detail says why a failed one was refused.
CREATE OR REPLACE VIEW sync.outcomes AS
SELECT o.entity, o.bms_id, o.account_id,
       CASE
           -- Not sent again, because Passportal refused exactly this before.
           WHEN o.reason = 'refused_before' THEN 'failed'
           WHEN o.disposition = 'matched' AND o.operation = 'skip' THEN 'unchanged'
           -- Handed over: neither matched nor excluded until Passportal lists it.
           WHEN o.disposition = 'to_create' AND (o.operation = 'skip' OR j.outcome = 'handed_over') THEN 'unmatched'
           WHEN o.operation = 'skip' THEN o.disposition
           WHEN j.outcome = 'refused' THEN 'failed'
           WHEN (j.outcome IS DISTINCT FROM 'done') THEN 'pending'
           -- It lost its marker, because a person took it apart from the record.
           WHEN o.disposition NOT IN ('matched', 'to_create', 'out_of_scope') THEN o.disposition
           ELSE CASE o.operation WHEN 'create' THEN 'created' WHEN 'adopt' THEN 'adopted' ELSE 'updated' END
       END AS outcome,
       o.operation <> 'skip' AS is_operation,
       o.needs_approval OR coalesce(o.held_back, false) OR coalesce(o.unproved, false) AS waits_for_person,
       coalesce(j.detail, f.detail) AS detail, o.reason
FROM sync.operations o
LEFT JOIN sync.journal j
    ON j.entity = o.entity AND j.bms_id = o.bms_id AND j.plan_id = (SELECT max(plan_id) FROM sync.plans)
   -- It is sent again: an intent of its own says what became of that.
   AND j.outcome IS DISTINCT FROM 'not_sent'
LEFT JOIN (
    SELECT entity, bms_id, arg_max(detail, outcome_at) AS detail FROM sync.journal WHERE refuses_values GROUP BY ALL
) f ON o.reason = 'refused_before' AND f.entity = o.entity AND f.bms_id = o.bms_id
