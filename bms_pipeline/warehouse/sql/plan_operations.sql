-- What will be done to each record of {entity}, field by field?
-- A field is written where BMS has a value that Passportal lacks, or where BMS changed since the last load and
-- Passportal did not, unless the settings say who owns it. Anything else that differs is a person's and is kept. An
-- empty BMS value never blanks anything. A record of Passportal that a person took apart from one of BMS loses its marker.
INSERT INTO sync.planned_{entity} BY NAME
WITH released AS (
    SELECT t.bms_id, min(t.passportal_id) AS releases
    FROM sync.partings t
    JOIN passportal.{entity} p ON p.passportal_id = t.passportal_id AND p.bms_id = t.bms_id
    WHERE t.entity = '{entity}'
      AND NOT EXISTS (FROM sync.reconciled_{entity} o WHERE o.passportal_id = t.passportal_id)
    GROUP BY ALL
)
SELECT r.bms_id, r.account_id, r.client_id, b.name, r.disposition,
       CASE
           WHEN r.disposition = 'to create' THEN 'create'
           WHEN r.disposition = 'matched' AND r.is_new_match THEN 'adopt'
           WHEN r.disposition = 'matched' AND ({anything_written}) THEN 'update'
           WHEN r.disposition <> 'out of scope' AND d.releases IS NOT NULL THEN 'update'
           ELSE 'skip'
       END AS operation,
       CASE WHEN operation <> 'skip' THEN d.releases END AS releases,
       CASE WHEN operation = 'update' AND r.disposition <> 'matched' THEN d.releases ELSE r.passportal_id END AS passportal_id,
       -- A person may give a record to another than the one whose marker it bears.
       CASE WHEN operation = 'adopt' AND p.bms_id <> r.bms_id THEN p.bms_id END AS replaces,
       operation <> 'skip' AND (r.by_person OR d.releases IS NOT NULL) AS by_person,
       false AS held_back,
       CASE WHEN r.disposition = 'matched' AND ({anything_kept}) THEN list_filter([{kept}], lambda e: e IS NOT NULL) END AS kept,
       CASE
           WHEN operation = 'update' AND r.disposition <> 'matched' THEN 'unmatched_by_person'
           WHEN operation = 'update' AND ({bms_changed}) THEN 'bms_changed'
           WHEN operation = 'update' AND ({anything_written}) THEN 'field_ownership'
           WHEN operation = 'update' THEN 'unmatched_by_person'
           WHEN operation = 'skip' AND kept IS NOT NULL THEN 'passportal_value_kept'
           WHEN operation = 'skip' AND r.disposition = 'matched' THEN 'unchanged'
           ELSE r.reason
       END AS reason,
       {values}
FROM sync.reconciled_{entity} r
JOIN bms.{entity} b ON b.bms_id = r.bms_id
LEFT JOIN passportal.{entity} p ON p.passportal_id = r.passportal_id
LEFT JOIN sync.loaded_{entity} l ON l.bms_id = CASE WHEN NOT r.is_new_match THEN r.bms_id END
LEFT JOIN released d ON d.bms_id = r.bms_id
