-- What will be done to each record of {entity}, field by field?
-- A field is written where BMS has a value that Passportal lacks, or where BMS changed since the last load and
-- Passportal did not, unless the settings say who owns it. Anything else that differs is a person's and is kept. An
-- empty BMS value never blanks anything. A record of Passportal that a person took apart from one of BMS loses its marker.
-- In steps, because an expression that is used in many places of one step is planned and computed in each of them.
INSERT INTO sync.planned_{entity} BY NAME
WITH released AS (
         SELECT t.bms_id, min(t.passportal_id) AS releases
         FROM sync.partings t
         JOIN passportal.{entity} p ON p.passportal_id = t.passportal_id AND p.bms_id = t.bms_id
         WHERE t.entity = '{entity}'
           AND NOT EXISTS (FROM sync.reconciled_{entity} o WHERE o.passportal_id = t.passportal_id)
         GROUP BY ALL
     ),
     compared AS (
         SELECT r.* EXCLUDE (reason, by_person), r.reason AS decided_because, r.by_person AS decided_by_person,
                r.disposition = 'matched' AS is_matched, p.bms_id AS marker, d.releases AS releasable, {compared}
         FROM sync.reconciled_{entity} r
         JOIN bms.{entity} b ON b.bms_id = r.bms_id
         LEFT JOIN passportal.{entity} p ON p.passportal_id = r.passportal_id
         LEFT JOIN sync.loaded_{entity} l ON l.bms_id = CASE WHEN NOT r.is_new_match THEN r.bms_id END
         LEFT JOIN released d ON d.bms_id = r.bms_id
     ),
     judged AS (
         SELECT *, is_matched AND ({anything_written}) AS is_written, is_matched AND ({anything_kept}) AS is_kept
         FROM compared
     ),
     decided AS (
         SELECT *,
                CASE
                    WHEN disposition = 'to create' THEN 'create'
                    WHEN is_matched AND is_new_match THEN 'adopt'
                    WHEN is_written THEN 'update'
                    WHEN disposition <> 'out of scope' AND releasable IS NOT NULL THEN 'update'
                    ELSE 'skip'
                END AS operation
         FROM judged
     )
SELECT bms_id, account_id, client_id, bms_name AS name, disposition, operation,
       CASE WHEN operation <> 'skip' THEN releasable END AS releases,
       CASE WHEN operation = 'update' AND NOT is_matched THEN releasable ELSE passportal_id END AS passportal_id,
       -- A person may give a record to another than the one whose marker it bears.
       CASE WHEN operation = 'adopt' AND marker <> bms_id THEN marker END AS replaces,
       operation <> 'skip' AND (decided_by_person OR releasable IS NOT NULL) AS by_person,
       CASE WHEN is_kept THEN list_filter([{kept}], lambda e: e IS NOT NULL) END AS kept,
       CASE
           WHEN operation = 'update' AND NOT is_matched THEN 'unmatched_by_person'
           WHEN operation = 'update' AND ({bms_changed}) THEN 'bms_changed'
           WHEN operation = 'update' AND is_written THEN 'field_ownership'
           WHEN operation = 'update' THEN 'unmatched_by_person'
           WHEN operation = 'skip' AND is_kept THEN 'passportal_value_kept'
           WHEN operation = 'skip' AND is_matched THEN 'unchanged'
           ELSE decided_because
       END AS reason,
       {values}
FROM decided
