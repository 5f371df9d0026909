-- What is to become of each record, and why? The first case that holds decides.
INSERT INTO {table} BY NAME
WITH considered AS (
    SELECT r.*, p.passportal_id AS paired_with, p.reason AS paired_by,
           r.linked_to IS NOT NULL AND (r.linked_in IS NOT DISTINCT FROM r.client_id) AS is_linked,
           coalesce(l.free_namesakes, 0) AS free_namesakes, coalesce(l.near_namesakes, 0) AS near_namesakes,
           coalesce(l.bms_twins, 0) > 1 AND {twins_wait} AS is_twin, coalesce(l.bms_twins, 0) AS bms_twins,
           coalesce(l.gone_namesakes, 0) AS gone_namesakes, d.bms_id IS NOT NULL AS has_doubt,
           coalesce(k.carriers, 0) > 1 AS is_marked_twice, coalesce(l.is_shared, false) AS is_shared,
           r.wanted AND (r.wanted_duplicate OR free_namesakes = 0 AND near_namesakes = 0 AND gone_namesakes = 0
                         AND NOT is_twin AND NOT is_shared AND NOT has_doubt) AS is_wanted,
           u.bms_id IS NOT NULL AS is_unread, u.reason AS waits_because, is_unread AND NOT r.wanted AS waits_for_list
    FROM record r
    LEFT JOIN pairs p USING (bms_id)
    LEFT JOIN doubts d USING (bms_id)
    LEFT JOIN leftover l USING (bms_id)
    LEFT JOIN marked k USING (bms_id)
    LEFT JOIN unread_elsewhere u USING (bms_id)
)
SELECT bms_id, account_id, client_id,
       CASE
           WHEN out_of_scope IS NOT NULL THEN 'out_of_scope'
           WHEN excluded THEN 'excluded'
           WHEN blocked IS NOT NULL THEN 'blocked'
           WHEN link_is_gone OR is_another OR lacks_owner THEN 'unmatched'
           WHEN is_linked THEN 'matched'
           WHEN is_marked_twice THEN 'ambiguous'
           WHEN waits_for_list THEN 'unmatched'
           WHEN paired_with IS NOT NULL THEN 'matched'
           WHEN name_key IS NULL THEN 'unmatched'
           WHEN is_wanted THEN 'to_create'
           WHEN is_parted THEN 'unmatched'
           WHEN free_namesakes > 0 AND {is_apart} THEN 'unmatched'
           WHEN free_namesakes > 0 OR is_twin OR is_shared THEN 'ambiguous'
           WHEN near_namesakes > 0 OR gone_namesakes > 0 OR has_doubt OR is_merged OR real_name_key IS NULL
               THEN 'unmatched'
           WHEN {creatable} THEN 'to_create'
           ELSE 'unmatched'
       END AS disposition,
       CASE
           WHEN out_of_scope IS NOT NULL THEN out_of_scope
           WHEN excluded THEN 'excluded_by_person'
           WHEN blocked IS NOT NULL THEN blocked
           WHEN link_is_gone THEN 'passportal_record_gone'
           WHEN is_another THEN 'came_back_as_another'
           WHEN lacks_owner THEN 'branch_without_owner'
           WHEN is_linked AND (link_is_new OR is_branch) THEN linked_by
           WHEN is_linked THEN 'match'
           WHEN is_marked_twice THEN 'several_with_marker'
           WHEN waits_for_list THEN waits_because
           WHEN paired_with IS NOT NULL THEN paired_by
           WHEN name_key IS NULL THEN 'no_name'
           WHEN is_wanted THEN 'created_by_person'
           WHEN is_parted THEN 'unmatched_by_person'
           WHEN free_namesakes > 0 AND {is_apart} THEN 'company_vault'
           WHEN free_namesakes > 1 THEN 'several_in_passportal'
           WHEN free_namesakes > 0 AND bms_twins > 1 OR is_twin THEN 'several_in_bms'
           WHEN is_shared THEN 'name_in_other_account'
           WHEN free_namesakes > 0 AND is_unread THEN waits_because
           WHEN free_namesakes > 0 AND real_name_key IS NULL THEN 'placeholder_on_both_sides'
           WHEN free_namesakes > 0 THEN 'same_name_other_evidence'
           WHEN near_namesakes > 0 THEN 'near_identical_name'
           WHEN gone_namesakes > 0 THEN 'name_of_gone_record'
           WHEN has_doubt THEN 'doubtful_serial'
           WHEN is_merged THEN 'client_merged'
           WHEN real_name_key IS NULL THEN 'placeholder_name'
           WHEN {creatable} AND linked_to IS NOT NULL THEN 'moved_to_this_client'
           WHEN {creatable} THEN 'not_in_passportal'
           ELSE 'waits_for_decision'
       END AS reason,
       disposition = 'matched' AND (NOT is_linked OR link_is_new) AS is_new_match,
       CASE
           WHEN disposition = 'matched' THEN CASE WHEN is_linked THEN linked_to ELSE paired_with END
           -- Its document may say so, if the mapping has a word for that.
           WHEN parent_id IS NOT NULL AND is_only_inactive AND NOT excluded AND blocked IS NULL
               AND is_linked AND NOT link_is_new THEN linked_to
       END AS passportal_id,
       -- What only a person's finish may load: their own decisions, and all that rests on one about its client.
       (disposition IN ('matched', 'to_create') OR passportal_id IS NOT NULL)
           AND (client_by_person OR reason IN ('created_by_person', 'matched_by_person')
                OR is_linked AND is_branch AND link_is_new) AS needs_approval
FROM considered
