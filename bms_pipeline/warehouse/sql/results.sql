-- Under which outcome does each record of the current plan count?
WITH outcome AS (
    SELECT o.entity,
           CASE
               WHEN o.disposition = 'matched' AND o.operation = 'skip' THEN 'unchanged'
               WHEN o.operation = 'skip' THEN replace(o.disposition, ' ', '_')
               WHEN j.outcome = 'refused' THEN 'failed'
               WHEN j.outcome IS DISTINCT FROM 'done' THEN 'pending'
               -- It lost its marker, because a person took it apart from the record.
               WHEN o.disposition NOT IN ('matched', 'to create') THEN replace(o.disposition, ' ', '_')
               ELSE CASE o.operation WHEN 'create' THEN 'created' WHEN 'adopt' THEN 'adopted' ELSE 'updated' END
           END AS outcome
    FROM sync.operations o
    LEFT JOIN sync.journal j
        ON j.entity = o.entity AND j.bms_id = o.bms_id AND j.plan_id = (SELECT max(plan_id) FROM sync.plans)
)
SELECT entity, count(*),
       count(*) FILTER (outcome = 'created'), count(*) FILTER (outcome = 'adopted'),
       count(*) FILTER (outcome = 'updated'), count(*) FILTER (outcome = 'unchanged'),
       count(*) FILTER (outcome = 'excluded'), count(*) FILTER (outcome = 'unmatched'),
       count(*) FILTER (outcome = 'ambiguous'), count(*) FILTER (outcome = 'out_of_scope'),
       count(*) FILTER (outcome = 'blocked'), count(*) FILTER (outcome = 'failed'),
       count(*) FILTER (outcome = 'pending')
FROM outcome
GROUP BY entity
