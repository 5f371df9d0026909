-- What takes back what plan $plan_id did to each record of {entity}, field by field?
-- kept: what changed in Passportal since, or has another place by now, and what it would have been put back to.
-- Each question about a field is asked once, in found and judged, for the reason that plan_operations gives.
INSERT INTO sync.planned_{entity} BY NAME
WITH found AS (
         SELECT r.*, b.name, j.did, j.found_id, j.matched_to, j.is_branch, p.bms_id AS marker, p.template_id, {wrote},
                {has}
         FROM sync.reconciled_{entity} r
         JOIN bms.{entity} b ON b.bms_id = r.bms_id
         LEFT JOIN (
             -- The journal says whom an update or an adoption concerned; whom a create made, the match says.
             SELECT j.bms_id, j.operation AS did, j.changes, coalesce(j.passportal_id, m.passportal_id) AS found_id,
                    m.passportal_id AS matched_to, m.reason = 'branch_by_person' AS is_branch
             FROM sync.journal j
             LEFT JOIN sync.matches m ON m.entity = j.entity AND m.bms_id = j.bms_id
             WHERE j.entity = '{entity}' AND j.plan_id = $plan_id AND j.outcome = 'done'
         ) j ON j.bms_id = r.bms_id
         LEFT JOIN passportal.{entity} p ON p.passportal_id = j.found_id
     ),
     judged AS (SELECT *, {touched}, {unchanged} FROM found),
     decided AS (
         SELECT *,
                CASE
                    -- Without a marker (the API cannot write it, or it is off already) the match alone is taken back.
                    WHEN did = 'adopt' AND (marker = bms_id OR (marker IS NULL OR is_branch) AND matched_to = found_id)
                        THEN 'update'
                    WHEN did = 'update' AND ({anything_put_back}) THEN 'update'
                    ELSE 'skip'
                END AS operation,
                list_filter([{kept}], lambda e: e IS NOT NULL) AS differing
         FROM judged
     )
SELECT bms_id, account_id, client_id, name, disposition, operation,
       CASE WHEN did = 'adopt' AND operation = 'update' THEN found_id END AS unmark_id,
       coalesce(found_id, passportal_id) AS passportal_id,
       template_id,
       operation <> 'skip' AS needs_approval,
       false AS held_back,
       CASE WHEN did IN ('adopt', 'update') THEN nullif(differing, []) END AS kept,
       CASE
           WHEN operation <> 'skip' THEN $taken_back
           WHEN did = 'create' THEN 'created_record_stays'
           WHEN did IS NOT NULL THEN 'changed_since'
           ELSE reason
       END AS reason,
       {values}
FROM decided
