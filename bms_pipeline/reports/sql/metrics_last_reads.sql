-- When was each list of BMS last read, and when last to a provable end?
SELECT list_call, epoch(max(least(landed_at, $now::TIMESTAMP))) AS landed,
       epoch(max(least(landed_at, $now::TIMESTAMP)) FILTER (mode = 'full' AND complete)) AS complete
FROM sync.sweeps
WHERE landed_at IS NOT NULL
GROUP BY list_call
ORDER BY list_call
