-- What did both sides of {entity} hold when these operations were done?
CREATE OR REPLACE TEMP TABLE remembered AS
SELECT l.bms_id, {values}
FROM loaded l
JOIN bms.{entity} b ON b.bms_id = l.bms_id
JOIN passportal.{entity} p ON p.passportal_id = l.found_id
LEFT JOIN sync.loaded_{entity} o ON o.bms_id = CASE WHEN l.operation = 'update' THEN l.bms_id END
