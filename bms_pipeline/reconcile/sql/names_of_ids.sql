-- How many records have each account type or asset category now, by name and id?
SELECT 'account_types' AS setting, t.id, t.name, count(b.bms_id) AS records
FROM bms.account_types t
LEFT JOIN bms.clients b ON b.account_type_id = t.id AND b.missing_since IS NULL
GROUP BY ALL
UNION ALL
SELECT 'asset_categories', category_id, type, count(*)
FROM bms.assets
WHERE missing_since IS NULL
GROUP BY ALL
ORDER BY ALL
