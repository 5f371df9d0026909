-- How many records of each entity wait for a person's decision, going by the newest plan that covered the entity?
SELECT entity, unmatched + ambiguous
FROM sync.results
QUALIFY row_number() OVER (PARTITION BY entity ORDER BY plan_id DESC) = 1
