-- Which operations on {entity} would send Passportal once more exactly what it refused?
-- The same values for the same document, and neither that nor the template changed since. A person may ask for it.
UPDATE sync.planned_{entity} o
SET operation = 'skip', reason = 'refused_before', needs_approval = false, unmark_id = NULL, replaces_marker_of = NULL,
    {blanked}
FROM (
    SELECT last.*, {document} AS document_now
    FROM (
        SELECT bms_id, operation AS refused_operation, client_id AS refused_client, passportal_id AS refused_id,
               changes AS refused_changes, document, outcome, refuses_values
        FROM sync.journal
        WHERE entity = '{entity}' AND outcome IS DISTINCT FROM 'not_sent'
          AND bms_id IN (SELECT bms_id FROM sync.journal WHERE entity = '{entity}' AND refuses_values)
        QUALIFY row_number() OVER (PARTITION BY bms_id ORDER BY plan_id DESC, intent_at DESC) = 1
    ) last
    LEFT JOIN passportal.{entity} p ON p.passportal_id = last.refused_id
    LEFT JOIN passportal.new_records n ON n.entity = '{entity}'
    WHERE last.outcome = 'refused' AND last.refuses_values
) r
WHERE r.bms_id = o.bms_id AND r.refused_operation = o.operation
  AND r.refused_client IS NOT DISTINCT FROM o.client_id AND r.refused_id IS NOT DISTINCT FROM o.passportal_id
  AND r.document IS NOT DISTINCT FROM r.document_now AND r.refused_changes IS NOT DISTINCT FROM {changes}
