-- How many records of {entity} does a filter find under which disposition and reason, and how do they stand in all?
SELECT r.disposition, r.reason, count(*) AS records, bit_xor({stamp}) AS stamp
FROM sync.reconciled_{entity} r
JOIN bms.{entity} b ON b.bms_id = r.bms_id
WHERE {where}
GROUP BY ALL
ORDER BY records DESC, r.disposition, r.reason
