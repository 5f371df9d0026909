-- Of which of these lists was the newest sweep not read to a provable end, and why not?
SELECT list_call, reason
FROM sync.sweeps
WHERE list_contains($lists, list_call)
QUALIFY row_number() OVER (PARTITION BY list_call ORDER BY landed_at DESC) = 1 AND NOT complete
ORDER BY list_call
