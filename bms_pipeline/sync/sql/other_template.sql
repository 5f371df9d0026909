-- Which documents of {entity} are in another template than the mapping gives to new ones? No call moves a document.
SELECT count(*)
FROM sync.matches m
JOIN bms.{entity} raw ON raw.bms_id = m.bms_id
JOIN passportal.{entity} p ON p.passportal_id = m.passportal_id
WHERE m.entity = '{entity}' AND p.template_id <> {wanted}
