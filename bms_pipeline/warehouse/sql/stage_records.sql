-- What do the landed pages of {entity} say, one row a record, before anything stored is touched?
-- shape tells apart which keys a record had and of which JSON types: a changed type is found without a second pass.
CREATE TEMP TABLE staged AS
WITH listed AS ({source}),
     typed AS (
         SELECT shape, filename, json AS raw, account_id AS listed_account_id, unnest(from_json(json, '{structure}'))
         FROM (SELECT *, {shape} AS shape FROM listed)
     ),
     said AS (
         SELECT shape, filename, id AS bms_id, {account} AS account_id, {account_type} AS account_type_id,
                {category} AS category_id, {columns},
                coalesce({active}, true) AS is_active, {modified} AS modified_on, {raw} AS json
         FROM typed
     )
-- A step of its own: each value is named several times here, and what computes it would be planned as often.
SELECT * REPLACE ({values}) FROM said
