-- What is to become of each record, and why? The first case that holds decides.
INSERT INTO {table} BY NAME
SELECT r.bms_id, r.account_id, r.client_id,
       p.passportal_id IS NOT NULL AS is_new_match,
       CASE
           WHEN r.out_of_scope IS NOT NULL THEN 'out of scope'
           WHEN r.excluded THEN 'excluded'
           WHEN r.blocked IS NOT NULL THEN 'blocked'
           WHEN r.link_is_gone THEN 'unmatched'
           WHEN r.linked_to IS NOT NULL AND r.linked_in IS NOT DISTINCT FROM r.client_id THEN 'matched'
           WHEN p.passportal_id IS NOT NULL THEN 'matched'
           WHEN r.name_key IS NULL THEN 'unmatched'
           WHEN l.free_namesakes > 0 OR {twins_wait} THEN 'ambiguous'
           WHEN l.near_namesakes > 0 THEN 'unmatched'
           WHEN {creatable} THEN 'to create'
           ELSE 'unmatched'
       END AS disposition,
       CASE
           WHEN r.out_of_scope IS NOT NULL THEN r.out_of_scope
           WHEN r.excluded THEN 'excluded_by_person'
           WHEN r.blocked IS NOT NULL THEN r.blocked
           WHEN r.link_is_gone THEN 'passportal_record_gone'
           WHEN r.linked_to IS NOT NULL AND r.linked_in IS NOT DISTINCT FROM r.client_id THEN 'match'
           WHEN p.passportal_id IS NOT NULL THEN p.reason
           WHEN r.name_key IS NULL THEN 'no_name'
           WHEN l.free_namesakes > 1 THEN 'several_in_passportal'
           WHEN l.free_namesakes > 0 AND l.bms_twins > 1 OR {twins_wait} THEN 'several_in_bms'
           WHEN l.free_namesakes > 0 THEN 'same_name_other_evidence'
           WHEN l.near_namesakes > 0 THEN 'near_identical_name'
           WHEN {creatable} AND r.linked_to IS NOT NULL THEN 'moved_to_this_client'
           WHEN {creatable} THEN 'not_in_passportal'
           ELSE 'waits_for_decision'
       END AS reason,
       CASE WHEN disposition = 'matched' THEN coalesce(p.passportal_id, r.linked_to) END AS passportal_id
FROM record r
LEFT JOIN pairs p USING (bms_id)
LEFT JOIN leftover l USING (bms_id)
