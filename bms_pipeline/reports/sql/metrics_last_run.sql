-- How long did the last ended run take, and did it succeed?
SELECT greatest(epoch(ended_at) - epoch(started_at), 0) AS seconds, failed_because IS NULL AS succeeded
FROM sync.runs
WHERE kind <> '{console}' AND ended_at IS NOT NULL
ORDER BY epoch DESC
LIMIT 1
