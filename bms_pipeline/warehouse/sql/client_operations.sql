-- How many operations inside each of these clients are still to be loaded?
SELECT account_id, count(*) FROM sync.outcomes
WHERE entity NOT IN ('clients', 'users') AND outcome = 'pending' AND account_id IN (SELECT unnest($clients))
GROUP BY account_id
