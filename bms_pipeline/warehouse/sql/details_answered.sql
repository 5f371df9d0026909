-- What did BMS answer about the details of {entity}, a row a record, and is it news?
-- A problem that came after a good answer does not take that away.
CREATE OR REPLACE TEMP TABLE answered AS
WITH answer AS (
         SELECT * REPLACE (least(read_at, TIMESTAMP '{now}') AS read_at)
         FROM read_json([{files}], format = 'newline_delimited',
                        columns = {fields})
     ),
     newest AS (
         SELECT bms_id, max(read_at) AS asked_at, max(read_at) FILTER (problem IS NULL) AS good_at,
                arg_max(detail, read_at) FILTER (problem IS NULL) AS detail,
                arg_max(array_to_string(coalesce(keys, []), ' '), read_at) FILTER (problem IS NULL) AS keys,
                arg_max(problem, read_at) FILTER (problem IS NOT NULL) AS problem
         FROM answer
         GROUP BY bms_id
     ),
     valued AS (
         SELECT bms_id, asked_at, good_at, CASE WHEN (good_at IS DISTINCT FROM asked_at) THEN problem END AS problem,
                keys, {values}
         FROM (SELECT * EXCLUDE (detail), unnest(detail) FROM newest)
     )
SELECT a.*, b.bms_id IS NOT NULL AND (b.details_asked_at IS NULL OR a.asked_at > b.details_asked_at) AS is_news,
       a.good_at IS NOT NULL AND ({differs}) AS changes
FROM valued a
LEFT JOIN bms.{entity} b ON b.bms_id = a.bms_id
