-- Which writes have an intent and no outcome, and when may the last of each kind have left?
SELECT entity, operation, count(*), max(coalesce(left_at, marked_at, intent_at))
FROM sync.journal
WHERE outcome IS NULL
GROUP BY entity, operation
ORDER BY list_position(['clients', 'users', 'locations', 'contacts', 'assets'], entity), operation
