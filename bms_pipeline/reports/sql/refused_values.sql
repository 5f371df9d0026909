-- Which writes did Passportal refuse for their values, since when, with which words, and are they not sent again?
-- Also those that were never sent, because their template needs a label (needs) without a value.
SELECT o.entity, o.bms_id, o.name, o.account_id AS client_bms_id, c.name AS client, since.refused_at, since.fields,
       since.detail, o.needs
FROM sync.operations o
LEFT JOIN bms.clients c ON c.bms_id = o.account_id
LEFT JOIN (
    SELECT entity, bms_id, min(outcome_at) AS refused_at, arg_max(detail, outcome_at) AS detail,
           arg_max(list_transform(changes, lambda e: e.field), outcome_at) AS fields
    FROM sync.journal
    WHERE refuses_values AND outcome = 'refused'
    GROUP BY ALL
) since ON since.entity = o.entity AND since.bms_id = o.bms_id
WHERE o.reason = 'refused_before' AND since.bms_id IS NOT NULL OR o.reason = 'template_needs'
ORDER BY o.entity, o.bms_id
