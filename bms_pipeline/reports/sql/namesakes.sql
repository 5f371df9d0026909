-- Which records of Passportal bear the name of this record of {entity}, in its client or elsewhere?
SELECT p.passportal_id, p.client_id, p.name, (p.client_id IS NOT DISTINCT FROM r.client_id) AS in_its_client,
       m.bms_id AS matched_to
FROM bms.{entity} b
JOIN passportal.{entity} p ON p.name_key = b.name_key
LEFT JOIN sync.reconciled_{entity} r ON r.bms_id = b.bms_id
LEFT JOIN sync.matches m
    ON m.entity = '{entity}' AND m.passportal_id = p.passportal_id AND m.reason <> 'branch_by_person'
WHERE b.bms_id = $bms_id
ORDER BY in_its_client DESC, p.passportal_id
LIMIT 20
