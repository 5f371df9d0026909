-- Which matched records of {entity} are the best filled of each template, to compare with their documents?
SELECT r.passportal_id, r.bms_id, {columns}
FROM sync.reconciled_{entity} r
JOIN bms.{entity} b ON b.bms_id = r.bms_id
JOIN passportal.{entity} p ON p.passportal_id = r.passportal_id
WHERE r.disposition = 'matched'
QUALIFY row_number() OVER (PARTITION BY p.template_id ORDER BY {filled} DESC, r.bms_id) <= {most}
ORDER BY r.bms_id
