-- How many records did the newest complete full sweep of each list have, and up to which stamp is everything landed?
SELECT list_call, coalesce(arg_max(records, landed_at) FILTER (mode = 'full' AND complete), 0) AS records,
       arg_max(newest_modified_on, landed_at) AS newest_modified_on
FROM sync.sweeps
WHERE client IS NULL
GROUP BY list_call
