-- How many records inside each of these clients count under which outcome of the current plan, and why did one fail?
SELECT account_id, outcome, count(*), min(entity || ' ' || bms_id || ': ' || detail) FILTER (outcome = 'failed')
FROM sync.outcomes
WHERE entity NOT IN ('clients', 'users') AND account_id IN (SELECT unnest($clients))
GROUP BY account_id, outcome
