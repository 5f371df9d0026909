-- In which template are the matched records of {entity}, by BMS's own category?
SELECT b.{category}, p.template_id, count(*)
FROM sync.reconciled_{entity} r
JOIN bms.{entity} b ON b.bms_id = r.bms_id
JOIN passportal.{entity} p ON p.passportal_id = r.passportal_id
WHERE r.disposition = 'matched' AND b.{category} IS NOT NULL AND p.template_id IS NOT NULL
GROUP BY ALL
ORDER BY ALL
