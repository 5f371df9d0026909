-- How many runs succeeded, failed, or never reported an end (killed, or at work now)? Decisions in the console are no runs.
SELECT count(*) FILTER (ended_at IS NOT NULL AND failed_because IS NULL) AS succeeded,
       count(*) FILTER (ended_at IS NOT NULL AND failed_because IS NOT NULL) AS failed,
       count(*) FILTER (ended_at IS NULL) AS without_end
FROM sync.runs
WHERE kind <> '{console}'
