-- How many records of {entity} does Passportal have that this program marked, while this database never loaded any?
SELECT count(*) FROM passportal.{entity} WHERE bms_id IS NOT NULL AND NOT EXISTS (FROM sync.journal)
