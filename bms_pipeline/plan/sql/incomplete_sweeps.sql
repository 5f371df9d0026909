-- Of which of these lists was the newest sweep not read to a provable end, and why not?
-- For a plan of some clients also the newest sweep of each of them alone, until the whole list was read after it.
WITH newest AS (
         SELECT *
         FROM sync.sweeps
         WHERE list_contains($lists, list_call) AND (client IS NULL OR list_contains($clients::BIGINT[], client))
         QUALIFY row_number() OVER (PARTITION BY list_call, client ORDER BY landed_at DESC) = 1
     )
SELECT DISTINCT list_call, reason
FROM newest n
WHERE NOT complete
  AND NOT EXISTS (
          FROM newest whole
          WHERE n.client IS NOT NULL AND whole.client IS NULL
            AND whole.list_call = n.list_call AND whole.landed_at > n.landed_at
      )
ORDER BY ALL
