-- Inside which clients did the current plan change anything?
SELECT DISTINCT account_id FROM sync.outcomes
WHERE entity NOT IN ('clients', 'users') AND outcome IN ('created', 'adopted', 'updated', 'failed')
ORDER BY account_id
