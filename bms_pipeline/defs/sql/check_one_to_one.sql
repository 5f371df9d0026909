-- Which records of {entity} are linked more than once?
-- reconciled: the links as they will be once the plan is loaded; loaded: the links as they are saved.
-- A client of Passportal has one account that owns it, and any number of branches.
WITH loaded AS (SELECT bms_id, passportal_id, reason FROM sync.matches WHERE entity = '{entity}'),
     matched AS (SELECT bms_id, passportal_id, reason FROM sync.reconciled_{entity} WHERE disposition = 'matched'),
     reconciled AS (FROM matched UNION ALL FROM loaded ANTI JOIN matched USING (bms_id))
SELECT 'BMS' AS side, bms_id::VARCHAR AS id, count(*) AS links,
       string_agg(passportal_id, ', ' ORDER BY passportal_id) AS linked_to
FROM {stage} GROUP BY bms_id HAVING count(*) > 1
UNION ALL
SELECT 'Passportal', passportal_id, count(*), string_agg(bms_id::VARCHAR, ', ' ORDER BY bms_id)
FROM {stage} WHERE reason <> 'branch_by_person' GROUP BY passportal_id HAVING count(*) > 1
