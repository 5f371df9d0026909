-- What does the plan do to which record, or leave to a person, of those that a page of the preview asks for?
WITH shown AS (
         SELECT *, CASE
                    WHEN operation <> 'skip' THEN operation
                    WHEN disposition IN ('unmatched', 'ambiguous') THEN 'decide'
                    WHEN disposition = 'excluded' THEN 'excluded'
                    ELSE 'keep'
                END AS kind
         FROM sync.operations
         WHERE {counted}
           AND coalesce(entity = $entity, $entity IS NULL)
           AND ($client IS NULL OR account_id IS NOT DISTINCT FROM nullif($client, 0))
         ORDER BY list_position(['clients', 'users', 'locations', 'contacts', 'assets'], entity), account_id, bms_id
         LIMIT $most OFFSET $skipped
     )
SELECT shown.*, c.name AS client
FROM shown
LEFT JOIN bms.clients c ON c.bms_id = shown.account_id
ORDER BY list_position(['clients', 'users', 'locations', 'contacts', 'assets'], entity), account_id, shown.bms_id
