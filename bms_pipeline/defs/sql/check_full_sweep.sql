-- Has {list_call} been swept in full, to a provable end, within the last {hours} hours? Only that shows what is gone.
SELECT '{list_call}' AS list_call, max(landed_at) FILTER (mode = 'full' AND complete) AS last_full_sweep,
       max(landed_at) AS last_sweep
FROM sync.sweeps
WHERE list_call = '{list_call}' AND client IS NULL
HAVING NOT coalesce(
    max(landed_at) FILTER (mode = 'full' AND complete AND landed_at <= (now() AT TIME ZONE 'UTC'))
        > (now() AT TIME ZONE 'UTC') - INTERVAL {hours} HOUR,
    false
)
