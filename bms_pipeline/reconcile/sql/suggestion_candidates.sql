-- What of the records of {table} that are still open is compared, and how many of their client bear the same?
-- Bearers are counted among all records, also those already matched: a number that a whole office shares tells nobody
-- apart, even when one of them is left.
WITH keyed AS (
         SELECT {id} AS id, {inside} AS inside, {marker} AS marker, name, name_key, loose_key{keys}
         FROM {table} WHERE {is_there}
     ),
     counted AS (SELECT *, count(*) OVER (PARTITION BY inside) AS records{bearers} FROM keyed)
SELECT k.id, {client} AS client_id, k.marker, k.name, k.name_key, {loose} AS loose, k.records{columns}
FROM counted k {open}
ORDER BY client_id, k.marker IS NOT NULL, k.id
