-- Which records were handed over for an import more than {days} days ago and are still not adopted?
SELECT entity, bms_id, name, file, handed_over_at, state
FROM ({stood})
WHERE overdue
ORDER BY handed_over_at, entity, bms_id
