-- Is the last sweep of {list_call} anything but proved complete? A list that was never swept is not.
SELECT '{list_call}' AS list_call, last.sweep, last.mode, coalesce(nullif(last.reason, ''), 'never swept') AS reason,
       last.records, last.landed_at
FROM (SELECT 1)
LEFT JOIN (
    SELECT * FROM sync.sweeps WHERE list_call = '{list_call}' AND client IS NULL ORDER BY landed_at DESC LIMIT 1
) last
    ON true
WHERE NOT coalesce(last.complete, false)
