-- How does each record of {entity} stand now, why, and since which load, whatever the current plan is?
-- One row for each record that BMS lists, and for each matched one that is gone from BMS. Facts go before what was
-- reconciled: a match that a load made or took apart, an exclusion and the client's own standing count at once.
WITH client AS ({clients}),
     excluded AS (SELECT DISTINCT bms_id FROM sync.exclusions WHERE entity = '{entity}'),
     owned AS (
         SELECT passportal_id FROM sync.matches WHERE entity = '{entity}' AND reason <> 'branch_by_person'
     ),
     handed_over AS (
         SELECT DISTINCT bms_id FROM sync.pending_imports WHERE entity = '{entity}' AND reissued_at IS NULL
     ),
     -- The last operation of a record, where that was refused or nobody knows what became of it.
     trouble AS (
         SELECT bms_id, outcome, detail
         FROM (
             SELECT j.*
             FROM sync.journal j
             SEMI JOIN (
                 FROM sync.journal
                 WHERE entity = '{entity}' AND coalesce(outcome, 'unknown') IN ('refused', 'unknown')
             ) t USING (bms_id)
             WHERE j.entity = '{entity}'
             QUALIFY row_number() OVER (PARTITION BY bms_id ORDER BY plan_id DESC, intent_at DESC) = 1
         )
         WHERE coalesce(outcome, 'unknown') IN ('refused', 'unknown')
     ),
     known AS (
         SELECT b.bms_id, b.account_id, b.name, b.missing_since IS NOT NULL AS is_gone, r.disposition, r.reason,
                m.passportal_id AS linked_to, m.reason AS linked_by,
                p.passportal_id IS NOT NULL
                    AND (NOT {has_client} OR p.client_id IS NOT DISTINCT FROM c.passportal_id)
                    AND (m.reason <> 'branch_by_person' OR m.passportal_id IN (FROM owned)) AS holds,
                m.passportal_id IS NOT NULL AND p.passportal_id IS NULL AS link_is_gone,
                CASE WHEN r.disposition = 'matched' AND r.is_new_match THEN r.passportal_id END AS paired_with,
                EXISTS (
                    FROM sync.non_matches t
                    WHERE t.entity = '{entity}' AND t.bms_id = b.bms_id AND t.passportal_id = r.passportal_id
                ) AS is_parted,
                l.bms_id IS NOT NULL AS is_loaded,
                m.reason <> 'branch_by_person' AND coalesce({differs}, false) AS differs,
                e.bms_id IS NOT NULL AS is_excluded, h.bms_id IS NOT NULL AS is_handed_over,
                j.bms_id IS NOT NULL AND j.outcome = 'refused' AS is_refused,
                (j.bms_id IS NOT NULL AND j.outcome IS DISTINCT FROM 'refused') AS is_open, j.detail,
                NOT {has_client} OR coalesce(c.is_there, false) AS client_is_there, c.standing AS client_standing
         FROM {records} b
         LEFT JOIN sync.reconciled_{entity} r ON r.bms_id = b.bms_id
         LEFT JOIN client c ON {has_client} AND c.bms_id = b.account_id
         LEFT JOIN sync.matches m ON m.entity = '{entity}' AND m.bms_id = b.bms_id
         LEFT JOIN passportal.{entity} p ON p.passportal_id = m.passportal_id
         LEFT JOIN sync.base_{entity} l ON l.bms_id = b.bms_id
         LEFT JOIN excluded e ON e.bms_id = b.bms_id
         LEFT JOIN handed_over h ON h.bms_id = b.bms_id
         LEFT JOIN trouble j ON j.bms_id = b.bms_id
         WHERE b.missing_since IS NULL OR m.passportal_id IS NOT NULL
     ),
     judged AS (
         SELECT *,
                CASE
                    WHEN is_gone THEN 'gone'
                    WHEN is_open THEN 'unknown'
                    WHEN disposition IS NULL THEN 'to plan'
                    WHEN disposition = 'out_of_scope' AND reason <> 'client_out_of_scope' THEN 'out of scope'
                    WHEN is_excluded THEN 'excluded'
                    WHEN client_standing = 'out of scope' THEN 'out of scope'
                    WHEN NOT client_is_there OR reason = 'not_listed_in_passportal' THEN 'blocked'
                    WHEN holds AND is_loaded AND NOT differs THEN 'in sync'
                    WHEN holds AND is_loaded THEN 'differs'
                    WHEN holds OR paired_with IS NOT NULL AND NOT is_parted THEN 'to match'
                    -- Its client was decided about since.
                    WHEN disposition IN ('blocked', 'out_of_scope') THEN 'to plan'
                    WHEN link_is_gone THEN 'unmatched'
                    WHEN disposition = 'to_create' AND is_handed_over THEN 'handed over'
                    WHEN disposition = 'to_create' THEN 'to create'
                    WHEN disposition = 'ambiguous' THEN 'ambiguous'
                    ELSE 'unmatched'
                END AS expected
         FROM known
     )
SELECT '{entity}' AS entity, bms_id, account_id, name,
       CASE
           WHEN is_refused AND expected IN ('differs', 'to match', 'to create') THEN 'refused'
           ELSE expected
       END AS standing,
       CASE standing
           WHEN 'gone' THEN 'gone_from_bms'
           WHEN 'unknown' THEN 'outcome_unknown'
           WHEN 'to plan' THEN 'not_planned_yet'
           WHEN 'refused' THEN 'refused_by_passportal'
           WHEN 'excluded' THEN 'excluded_by_person'
           WHEN 'in sync' THEN linked_by
           WHEN 'differs' THEN 'not_written_yet'
           WHEN 'handed over' THEN 'handed_over'
           WHEN 'to match' THEN CASE WHEN holds THEN linked_by ELSE reason END
           WHEN 'out of scope' THEN CASE WHEN disposition = 'out_of_scope' THEN reason ELSE 'client_out_of_scope' END
           WHEN 'blocked' THEN CASE
               WHEN disposition = 'blocked' THEN reason
               WHEN client_standing IS NULL OR client_standing = 'gone' THEN 'client_not_listed'
               WHEN client_standing IN ('to create', 'handed over') THEN 'client_not_in_passportal'
               ELSE 'client_' || replace(client_standing, ' ', '_')
           END
           WHEN 'unmatched' THEN CASE
               WHEN link_is_gone THEN 'passportal_record_gone'
               WHEN is_parted THEN 'unmatched_by_person'
               WHEN disposition = 'unmatched' THEN reason
               ELSE 'waits_for_decision'
           END
           ELSE reason
       END AS reason,
       CASE WHEN standing = 'refused' THEN detail END AS detail,
       CASE WHEN holds OR is_gone THEN linked_to WHEN standing = 'to match' THEN paired_with END AS passportal_id,
       -- Whether what lives inside this client may be matched and created there.
       NOT is_gone AND (holds AND standing <> 'excluded' AND standing <> 'out of scope'
           OR expected = 'to match' OR expected = 'to create' AND {can_write}) AS is_there
FROM judged
