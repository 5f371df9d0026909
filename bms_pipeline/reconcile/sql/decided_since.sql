-- What did people decide about {entity} since a batch of the ledger, newest first?
SELECT d.bms_id, b.name, d.verb, d.decided_by, d.decided_at, d.became
FROM sync.decisions d
LEFT JOIN bms.{entity} b ON b.bms_id = d.bms_id
WHERE d.entity = $entity AND d.batch > $batch AND ($ids IS NULL OR list_contains($ids::BIGINT[], d.bms_id))
ORDER BY d.batch DESC, d.bms_id
LIMIT $most
