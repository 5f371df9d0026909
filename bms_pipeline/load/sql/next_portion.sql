-- What are the operations on {entity} of this portion, with all that their calls need?
-- among leaves out none of them; it lets the scan read a few rows of the many columns.
SELECT o.account_id, o.bms_id, o.operation, o.reason, due.client_id, o.passportal_id, {changes} AS changes,
       o.replaces_marker_of, o.unmark_id, o.template_id, due.is_refused, {is_branch} AS is_branch
FROM sync.planned_{entity} o
JOIN ({due}) due ON due.bms_id = o.bms_id
WHERE {among}
