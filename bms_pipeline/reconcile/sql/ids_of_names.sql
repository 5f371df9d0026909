-- Which ids does BMS give to the account types and asset categories of these names now?
SELECT 'account_types' AS setting, lower(name) AS name, list(DISTINCT id ORDER BY id) AS ids
FROM bms.account_types
WHERE list_contains($account_types::VARCHAR[], lower(name))
GROUP BY ALL
UNION ALL
SELECT 'asset_categories', lower(type), list(DISTINCT category_id ORDER BY category_id)
FROM bms.assets
WHERE category_id IS NOT NULL AND list_contains($asset_categories::VARCHAR[], lower(type))
GROUP BY ALL
ORDER BY ALL
