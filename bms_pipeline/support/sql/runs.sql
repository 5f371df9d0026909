-- Which runs held the home folder last, newest first?
SELECT epoch, kind, started_at, date_diff('second', started_at, ended_at) AS seconds, ended_at IS NULL AS has_no_end,
       failed_because
FROM sync.runs
ORDER BY epoch DESC
LIMIT $last
