-- Which decisions about {entity} did not come true, and why not?
WITH holder AS (
         SELECT passportal_id, min(bms_id) AS held_by, count(*) AS holders
         FROM sync.matches
         WHERE entity = '{entity}' AND reason <> 'branch_by_person'
         GROUP BY ALL
     ),
     found_before AS (
         SELECT passportal_id, bms_id AS held_by, reason FROM before_{entity}
         WHERE disposition = 'matched' AND reason <> 'branch_by_person'
     ),
     given_up AS (SELECT bms_id FROM stood_{entity} WHERE verb = 'unmatch'),
     answered AS (
         SELECT s.number,
                CASE
                    WHEN b.bms_id IS NULL THEN 'BMS has listed no {singular} with this id'
                    WHEN s.verb IN ('exclude', 'include') THEN NULL
                    WHEN s.verb = 'branch' AND '{entity}' <> 'clients' THEN 'only a client can be linked as a branch'
                    WHEN s.verb = 'unmatch' THEN
                        CASE WHEN s.apart_from IS NULL AND NOT s.is_parted THEN 'it is not matched' END
                    WHEN b.missing_since IS NOT NULL THEN 'BMS no longer lists it'
                    WHEN r.disposition = 'out_of_scope' THEN 'it is out of scope (' || r.reason || ')'
                    WHEN r.disposition = 'excluded' THEN 'it is excluded; include it first'
                    WHEN r.disposition = 'blocked'
                        THEN 'its client ' || b.account_id
                             || ' is neither matched nor to be created; decide about that first'
                    WHEN s.verb = 'create' THEN
                        CASE
                            WHEN r.disposition = 'to_create' THEN NULL
                            WHEN r.disposition = 'matched'
                                 AND s.linked_by IN ('created_by_person', 'not_in_passportal', 'moved_to_this_client')
                                THEN NULL
                            WHEN r.disposition = 'matched'
                                THEN 'it is matched to ' || r.passportal_id || ' (' || r.reason || '); unmatch it first'
                            WHEN r.reason = 'no_name' THEN 'it has no name'
                            WHEN r.reason = 'several_in_bms'
                                THEN 'BMS has another of its name (' || r.reason
                                     || '); exclude that one, or create this beside it (--allow-duplicate)'
                            WHEN r.reason = 'name_in_other_account'
                                THEN 'another account of its client has one of its name;'
                                     || ' exclude this one, or create it all the same (--allow-duplicate)'
                            WHEN r.reason = 'doubtful_serial'
                                THEN 'Passportal has one with its serial number, which may be a placeholder;'
                                     || ' match it, or create it beside that (--allow-duplicate)'
                            WHEN r.reason = 'name_of_gone_record'
                                THEN 'Passportal has one of its name, whose record is gone from BMS;'
                                     || ' match it, or create it beside that (--allow-duplicate)'
                            WHEN r.disposition = 'ambiguous' OR r.reason IN ('near_identical_name', 'company_vault')
                                THEN 'Passportal has one of '
                                     || CASE WHEN r.reason = 'near_identical_name' THEN 'nearly its' ELSE 'its' END
                                     || ' name (' || r.reason || ')'
                                     || '; match it, or create it beside that (--allow-duplicate)'
                            ELSE 'it stays ' || r.disposition || ' (' || r.reason || ')'
                        END
                    WHEN p.passportal_id IS NULL THEN 'Passportal has no {singular} ' || s.wanted
                    WHEN {has_client} AND (p.client_id IS DISTINCT FROM r.client_id)
                        THEN s.wanted || ' lies in client ' || coalesce(p.client_id, 'none') || ', the record in '
                             || coalesce(r.client_id, 'a client that is still to be created')
                    WHEN s.verb = 'branch' AND s.partner = s.wanted AND NOT s.is_branch
                         AND s.bms_id NOT IN (FROM given_up)
                        THEN 'it is the account that owns ' || s.wanted || '; unmatch it first'
                    WHEN s.verb = 'branch' AND h.held_by IS NULL
                        THEN 'no account is matched to ' || s.wanted || '; match this one without --branch'
                    WHEN s.verb <> 'branch' AND '{entity}' = 'clients'
                         AND (h.held_by <> s.bms_id OR f.held_by <> s.bms_id AND f.held_by NOT IN (FROM given_up))
                        THEN s.wanted || ' is matched to client ' || coalesce(f.held_by, other.held_by, h.held_by)
                             || ' of BMS; unmatch that first, or link this one too as a branch (--branch)'
                    WHEN s.verb <> 'branch' AND (h.holders > 1 OR h.held_by <> s.bms_id)
                        THEN s.wanted || ' is matched to {singular} ' || coalesce(other.held_by, h.held_by)
                             || ' of BMS; unmatch that first'
                    WHEN s.verb <> 'branch' AND f.held_by <> s.bms_id AND f.held_by NOT IN (FROM given_up)
                        THEN s.wanted || ' is matched to {singular} ' || f.held_by
                             || ' of BMS (' || f.reason || '); unmatch that first'
                    WHEN s.verb <> 'branch' AND p.bms_id <> s.bms_id AND NOT EXISTS (
                             FROM sync.non_matches t
                             WHERE t.entity = '{entity}' AND t.bms_id = p.bms_id AND t.passportal_id = p.passportal_id
                         )
                         AND NOT EXISTS (
                             FROM sync.matches m
                             WHERE m.entity = '{entity}' AND m.bms_id = p.bms_id AND m.passportal_id = p.passportal_id
                               AND m.reason = 'branch_by_person'
                         )
                        THEN s.wanted || ' bears the marker of {singular} ' || p.bms_id || ' of BMS; unmatch that first'
                    WHEN s.partner <> s.wanted AND s.bms_id NOT IN (FROM given_up)
                        THEN 'it is matched to ' || s.partner || ' (' || s.reason || '); unmatch it first'
                    WHEN (r.disposition IS DISTINCT FROM 'matched') OR (r.passportal_id IS DISTINCT FROM s.wanted)
                        THEN 'it is matched to ' || coalesce(r.passportal_id, s.linked_to, 'nothing')
                             || '; unmatch it first'
                END AS refusal
         FROM stood_{entity} s
         LEFT JOIN bms.{entity} b ON b.bms_id = s.bms_id
         LEFT JOIN sync.reconciled_{entity} r ON r.bms_id = s.bms_id
         LEFT JOIN passportal.{entity} p ON p.passportal_id = s.wanted
         LEFT JOIN holder h ON h.passportal_id = s.wanted
         LEFT JOIN found_before f ON f.passportal_id = s.wanted
         LEFT JOIN (
             SELECT passportal_id, bms_id AS held_by FROM sync.matches
             WHERE entity = '{entity}' AND reason <> 'branch_by_person'
             QUALIFY row_number() OVER (PARTITION BY passportal_id ORDER BY matched_at, bms_id) = 1
         ) other ON other.passportal_id = s.wanted
     )
SELECT number, refusal FROM answered WHERE refusal IS NOT NULL ORDER BY number
