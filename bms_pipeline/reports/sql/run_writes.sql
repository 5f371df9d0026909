-- What did each of the last runs write to Passportal, single decisions in the review console aside?
WITH last_runs AS (
         SELECT *, epoch = (SELECT max(epoch) FROM sync.runs) AS is_last
         FROM sync.runs
         WHERE kind <> $console
         ORDER BY epoch DESC
         LIMIT $last
     )
SELECT r.epoch, r.label, r.run_id, r.started_at, r.ended_at, r.failed_because, r.is_last, {counts}
FROM last_runs r
LEFT JOIN sync.journal j ON j.intent_at BETWEEN r.started_at AND coalesce(r.ended_at, $now::TIMESTAMP)
GROUP BY ALL
ORDER BY r.epoch DESC
