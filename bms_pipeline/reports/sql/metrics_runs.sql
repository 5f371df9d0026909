-- How many runs succeeded, failed, or were killed (a later one began without their end)?
-- Decisions in the console are no runs.
SELECT count(*) FILTER (ended_at IS NOT NULL AND failed_because IS NULL) AS succeeded,
       count(*) FILTER (ended_at IS NOT NULL AND failed_because IS NOT NULL) AS failed,
       count(*) FILTER (ended_at IS NULL AND epoch < (SELECT max(epoch) FROM sync.runs)) AS killed
FROM sync.runs
WHERE kind <> '{console}'
