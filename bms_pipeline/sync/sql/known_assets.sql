-- Which assets are the newest stored ones, once a complete full sweep read them all?
-- More than 20 pages are never asked for.
SELECT bms_id FROM bms.assets
WHERE EXISTS (FROM sync.sweeps WHERE list_call = 'assets' AND mode = 'full' AND complete)
ORDER BY bms_id DESC
LIMIT 2000
