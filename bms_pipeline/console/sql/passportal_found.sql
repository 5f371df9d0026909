-- Which records of Passportal could this record of {entity} be matched to, by name, inside its client?
SELECT p.passportal_id, p.name, {columns}, coalesce(m.bms_id, found.bms_id) AS matched_to
FROM passportal.{entity} p
LEFT JOIN sync.matches m
    ON m.entity = '{entity}' AND m.passportal_id = p.passportal_id AND m.reason <> 'branch_by_person'
LEFT JOIN sync.reconciled_{entity} found
    ON found.passportal_id = p.passportal_id AND found.disposition = 'matched' AND found.reason <> 'branch_by_person'
WHERE contains(p.name_key, $name)
  AND ({anywhere} OR p.client_id = (SELECT r.client_id FROM sync.reconciled_{entity} r WHERE r.bms_id = $bms_id))
ORDER BY matched_to IS NOT NULL, p.name_key, p.passportal_id
LIMIT $most
