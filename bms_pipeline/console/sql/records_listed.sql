-- Which records of {entity} does a page of the list show, how does each stand, and what is it matched to?
WITH listed AS (
         SELECT r.*, b.name, a.name AS client, {stamp} AS stamp, {columns}
         FROM sync.reconciled_{entity} r
         JOIN bms.{entity} b ON b.bms_id = r.bms_id
         LEFT JOIN bms.clients a ON a.bms_id = r.account_id AND '{entity}' <> 'clients'
         WHERE {where}
     ),
     shown AS (SELECT record.* FROM listed record ORDER BY {order}, bms_id LIMIT {most} OFFSET {skipped})
SELECT shown.*, p.name AS passportal_name
FROM (SELECT record.*, row_number() OVER (ORDER BY {order}, bms_id) AS position FROM shown record) shown
LEFT JOIN passportal.{entity} p ON p.passportal_id = shown.passportal_id
ORDER BY position
