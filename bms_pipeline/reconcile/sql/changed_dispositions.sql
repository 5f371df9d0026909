-- Which records of {entity} are decided otherwise than before, from what to what?
WITH compared AS (
    SELECT bms_id, concat(was.disposition, ' (' || was.reason || ')') AS was,
           concat(now.disposition, ' (' || now.reason || ')') AS becomes
    FROM before_{entity} was
    FULL JOIN sync.reconciled_{entity} now USING (bms_id)
    WHERE was.disposition IS DISTINCT FROM now.disposition OR was.passportal_id IS DISTINCT FROM now.passportal_id
       OR was.reason IS DISTINCT FROM now.reason
),
numbered AS (SELECT *, row_number() OVER (PARTITION BY was, becomes ORDER BY bms_id) AS number FROM compared)
SELECT n.was, n.becomes, count(*) AS records,
       list(concat_ws(' ', n.bms_id, b.name) ORDER BY n.number) FILTER (n.number <= $examples) AS examples,
       list(n.bms_id ORDER BY n.number) FILTER (n.number <= $examples) AS ids
FROM numbered n
LEFT JOIN bms.{entity} b ON b.bms_id = n.bms_id
GROUP BY ALL
ORDER BY records DESC, was, becomes
