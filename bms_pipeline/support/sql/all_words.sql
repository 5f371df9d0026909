-- Which words of four characters or more do the records of {entity} have, on both sides?
SELECT DISTINCT word
FROM (
    SELECT unnest(regexp_split_to_array(lower(text), '[^\p{{L}}\p{{M}}\p{{N}}]+')) AS word
    FROM (
        SELECT concat_ws(' ', {columns}) AS text FROM bms.{entity}
        UNION ALL SELECT concat_ws(' ', {columns}) FROM passportal.{entity}
    ) AS texts
) AS words
WHERE length(word) > 3
