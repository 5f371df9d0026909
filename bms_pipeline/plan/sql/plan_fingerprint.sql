-- How many operations on {entity} would change something, and what is their hash?
-- Order-free: each row is hashed by itself, then all are combined.
SELECT count(*),
       bit_xor(md5_number(
           concat_ws(chr(31), operation, bms_id, client_id, passportal_id, coalesce(unmark_id, ''),
                      coalesce(template_id, ''),
                     {texts})
       ))
FROM sync.planned_{entity}
WHERE operation <> 'skip'
