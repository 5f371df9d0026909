-- When did the last run that read BMS end without an error? A moment in the future counts as now.
SELECT epoch(max(least(r.ended_at, $now::TIMESTAMP)))
FROM sync.runs r
WHERE r.ended_at IS NOT NULL AND r.failed_because IS NULL
  AND EXISTS (FROM sync.sweeps s WHERE s.landed_at BETWEEN r.started_at AND r.ended_at)
