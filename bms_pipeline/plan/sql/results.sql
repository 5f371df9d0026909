-- How many records of each entity count under which outcome of the current plan?
SELECT entity, count(*),
       count(*) FILTER (outcome = 'created'), count(*) FILTER (outcome = 'adopted'),
       count(*) FILTER (outcome = 'updated'), count(*) FILTER (outcome = 'unchanged'),
       count(*) FILTER (outcome = 'excluded'), count(*) FILTER (outcome = 'unmatched'),
       count(*) FILTER (outcome = 'ambiguous'), count(*) FILTER (outcome = 'out_of_scope'),
       count(*) FILTER (outcome = 'blocked'), count(*) FILTER (outcome = 'failed'),
       count(*) FILTER (outcome = 'pending')
FROM sync.outcomes
GROUP BY entity
