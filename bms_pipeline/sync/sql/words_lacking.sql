-- Which words of BMS in {column} of {entity} have no word of ours, and in how many records?
SELECT {column}, count(*) AS records
FROM bms.{entity}
WHERE missing_since IS NULL AND {lacks_word}
GROUP BY {column}
ORDER BY records DESC, {column}
