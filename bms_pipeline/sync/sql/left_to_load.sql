-- How many operations of the current plan may be loaded and have no final outcome?
SELECT entity, count(*) FROM sync.outcomes
WHERE is_operation AND outcome = 'pending' AND ($approved OR NOT waits_for_person)
GROUP BY entity
