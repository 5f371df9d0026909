-- Which assets are stored, once a complete full sweep read them all?
SELECT bms_id FROM bms.assets
WHERE EXISTS (FROM sync.sweeps WHERE list_call = 'assets' AND mode = 'full' AND complete)
