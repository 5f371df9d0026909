-- Which loaded records of {entity} have values in BMS that the next load writes into Passportal?
INSERT INTO sync.differing
SELECT '{entity}', b.bms_id
FROM sync.matches m
JOIN {records} b ON b.bms_id = m.bms_id
JOIN passportal.{entity} p ON p.passportal_id = m.passportal_id
JOIN sync.base_{entity} l ON l.bms_id = m.bms_id
WHERE m.entity = '{entity}' AND m.reason <> 'branch_by_person' AND ({differs})
