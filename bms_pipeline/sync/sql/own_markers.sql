-- How many records of {entity} does Passportal have that this program marked?
SELECT count(*) FROM passportal.{entity} WHERE bms_id IS NOT NULL
