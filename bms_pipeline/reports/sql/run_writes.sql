-- What did each of the last runs write to Passportal, single decisions in the review console aside?
-- One run holds the home folder at a time, so an intent belongs to the last run that began before it.
WITH last_runs AS (
         SELECT *, epoch = (SELECT max(epoch) FROM sync.runs) AS is_last
         FROM sync.runs
         WHERE kind <> $console
         ORDER BY epoch DESC
         LIMIT $last
     ),
     written AS (
         SELECT r.epoch, {counts}
         FROM (FROM sync.journal WHERE intent_at >= (SELECT min(started_at) FROM last_runs)) j
         ASOF JOIN last_runs r ON j.intent_at >= r.started_at
         GROUP BY r.epoch
     )
SELECT r.label, r.run_id, r.started_at, r.ended_at, r.failed_because, r.is_last, {filled}
FROM last_runs r
LEFT JOIN written ON written.epoch = r.epoch
ORDER BY r.epoch DESC
