-- What did both sides of {entity} hold when these operations were done? Only an update goes on from an old base.
SELECT l.bms_id, {values}
FROM {loaded} l
JOIN (FROM {records} WHERE {bms_rows}) b ON b.bms_id = l.bms_id
JOIN (FROM passportal.{entity} WHERE {passportal_rows}) p ON p.passportal_id = l.found_id
LEFT JOIN (FROM sync.base_{entity} SEMI JOIN (FROM {loaded} WHERE operation = 'update') USING (bms_id)) o
    ON o.bms_id = l.bms_id
