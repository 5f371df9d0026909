-- Which records of the plan does a person want to see one by one, and what for?
CREATE OR REPLACE TEMP TABLE to_show AS
SELECT entity, bms_id, account_id,
       CASE
           WHEN operation <> 'skip' THEN operation
           WHEN disposition IN ('unmatched', 'ambiguous') THEN 'decide'
           WHEN disposition = 'excluded' THEN 'excluded'
           ELSE 'keep'
       END AS kind
FROM sync.operations
WHERE operation <> 'skip' OR kept IS NOT NULL OR disposition IN ('unmatched', 'ambiguous', 'excluded')
