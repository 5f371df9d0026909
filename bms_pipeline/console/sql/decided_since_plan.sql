-- What did people decide since $made_at, newest first? One row for each decision about one or many records.
SELECT d.batch, d.verb, d.entity, d.decided_by, count(*) AS records,
       list(coalesce(o.name, d.bms_id::VARCHAR) ORDER BY d.bms_id)[:3] AS names
FROM sync.decisions d
LEFT JOIN sync.operations o ON o.entity = d.entity AND o.bms_id = d.bms_id
WHERE d.decided_at > $made_at
GROUP BY ALL
ORDER BY d.batch DESC, d.entity, d.verb
LIMIT $most
