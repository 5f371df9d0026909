-- What takes back what plan $plan_id did to each record of {entity}, field by field?
-- kept: what changed in Passportal since, and what it would have been put back to.
INSERT INTO sync.planned_{entity} BY NAME
SELECT r.bms_id, r.account_id, r.client_id, b.name, r.disposition,
       CASE
           WHEN j.did = 'adopt' AND p.bms_id = r.bms_id THEN 'update'
           WHEN j.did = 'update' AND ({anything_put_back}) THEN 'update'
           ELSE 'skip'
       END AS operation,
       CASE WHEN j.did = 'adopt' AND operation = 'update' THEN j.found_id END AS releases,
       coalesce(j.found_id, r.passportal_id) AS passportal_id,
       operation <> 'skip' AS by_person,
       false AS held_back,
       CASE WHEN j.did IN ('adopt', 'update') THEN nullif(list_filter([{kept}], lambda e: e IS NOT NULL), []) END AS kept,
       CASE
           WHEN operation <> 'skip' THEN $taken_back
           WHEN j.did = 'create' THEN 'created_record_stays'
           WHEN j.did IS NOT NULL THEN 'changed_since'
           ELSE r.reason
       END AS reason,
       {values}
FROM sync.reconciled_{entity} r
JOIN bms.{entity} b ON b.bms_id = r.bms_id
LEFT JOIN (
    -- The journal says whom an update or an adoption concerned; whom a create made, the match says.
    SELECT j.bms_id, j.operation AS did, j.changes, coalesce(j.passportal_id, m.passportal_id) AS found_id
    FROM sync.journal j
    LEFT JOIN sync.matches m ON m.entity = j.entity AND m.bms_id = j.bms_id
    WHERE j.entity = '{entity}' AND j.plan_id = $plan_id AND j.outcome = 'done'
) j ON j.bms_id = r.bms_id
LEFT JOIN passportal.{entity} p ON p.passportal_id = j.found_id
