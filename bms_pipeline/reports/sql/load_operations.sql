-- Which operations of plan $plan_id were carried out, of those that a page asks for, on which records?
-- An intent that was not sent has a later one, so it is left out. Only the lines of one page carry their changes.
WITH record AS ({records}),
     found AS (
         SELECT j.rowid AS line, r.name, r.account_id AS client_bms_id, c.name AS client,
                list_position(['clients', 'users', 'locations', 'contacts', 'assets'], j.entity) AS position, j.bms_id
         FROM sync.journal j
         LEFT JOIN record r ON r.entity = j.entity AND r.bms_id = j.bms_id
         LEFT JOIN bms.clients c ON c.bms_id = r.account_id
         WHERE j.plan_id = $plan_id
           AND j.outcome IS DISTINCT FROM 'not_sent'
           AND coalesce(j.entity = $entity, true)
           AND coalesce(j.operation = $operation, true)
           AND coalesce(coalesce(j.outcome, 'unknown') = $outcome, true)
           AND ($client IS NULL OR r.account_id = $client)
           AND ($client_text IS NULL OR contains(lower(c.name), lower($client_text)))
           AND ($text IS NULL OR contains(lower(r.name), lower($text)) OR j.bms_id::VARCHAR = $text)
     ),
     shown AS (FROM found ORDER BY position, client, name, bms_id LIMIT $most OFFSET $skipped)
SELECT j.entity, j.bms_id, shown.name, shown.client_bms_id, shown.client, j.passportal_id, j.operation, j.reason,
       coalesce(j.outcome, 'unknown') AS outcome, j.detail, j.changes, j.intent_at, (SELECT count(*) FROM found) AS found
FROM shown
JOIN sync.journal j ON j.rowid = shown.line
ORDER BY shown.position, shown.client, shown.name, shown.bms_id
