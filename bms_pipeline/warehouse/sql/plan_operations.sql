-- What will be done to each record of {entity}, field by field?
-- A field is written where BMS has a value that Passportal lacks, or where BMS changed since the last load and
-- Passportal did not. Anything else that differs is a person's and is kept. An empty BMS value never blanks anything.
INSERT INTO sync.planned_{entity} BY NAME
SELECT r.bms_id, r.account_id, r.client_id, r.passportal_id, b.name, r.disposition,
       CASE
           WHEN r.disposition = 'to create' THEN 'create'
           WHEN r.disposition = 'matched' AND r.is_new_match THEN 'adopt'
           WHEN r.disposition = 'matched' AND ({anything_written}) THEN 'update'
           ELSE 'skip'
       END AS operation,
       CASE WHEN r.disposition = 'matched' AND ({anything_kept}) THEN list_filter([{kept}], lambda e: e IS NOT NULL) END AS kept,
       CASE
           WHEN operation = 'update' THEN 'bms_changed'
           WHEN operation = 'skip' AND kept IS NOT NULL THEN 'passportal_value_kept'
           WHEN operation = 'skip' AND r.disposition = 'matched' THEN 'unchanged'
           ELSE r.reason
       END AS reason,
       {values}
FROM sync.reconciled_{entity} r
JOIN bms.{entity} b ON b.bms_id = r.bms_id
LEFT JOIN passportal.{entity} p ON p.passportal_id = r.passportal_id
LEFT JOIN sync.loaded_{entity} l ON l.bms_id = CASE WHEN NOT r.is_new_match THEN r.bms_id END
