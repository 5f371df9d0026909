-- How many records of {entity} that are in Passportal had their details read without a key that the mapping names?
SELECT count(*)
FROM bms.{entity} b
SEMI JOIN (FROM sync.matches WHERE entity = '{entity}') m ON m.bms_id = b.bms_id
WHERE b.missing_since IS NULL
  AND b.details_read_at IS NOT NULL
  AND NOT {has_keys}
