-- Which accounts are linked to the Passportal client of this account, the owner first, where there are several?
SELECT m.bms_id, b.name, m.reason <> 'branch_by_person' AS is_owner
FROM sync.matches m
JOIN sync.matches own
    ON own.entity = 'clients' AND own.passportal_id = m.passportal_id AND own.bms_id = $account_id
LEFT JOIN bms.clients b ON b.bms_id = m.bms_id
WHERE m.entity = 'clients'
QUALIFY count(*) OVER () > 1
ORDER BY is_owner DESC, m.bms_id
