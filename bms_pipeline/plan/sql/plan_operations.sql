-- What will be done to each record of {entity}, field by field?
-- A field is written where BMS has a value that Passportal lacks, or where BMS changed since the last load and
-- Passportal did not, unless the settings say who owns it. Anything else that differs is a person's and is kept.
-- An empty BMS value, or a placeholder, never blanks anything. A value that Passportal lacks and has no field for is
-- listed. Details that come later only fill what is empty in Passportal. A record of Passportal that a person took
-- apart from one of BMS loses its marker. A branch changes nothing of its client: that belongs to the owner's account.
-- Of a document whose record is inactive in BMS only a field is written that says so (is_retired).
-- by_mapping: BMS did not change since the last load, only the mapping did. unlinked: a link is not written, and why.
-- Each question about a field is asked once, in met: DuckDB takes as long to read a long statement as to carry it out.
INSERT INTO sync.planned_{entity} BY NAME
WITH released AS (
         SELECT t.bms_id, min(t.passportal_id) AS released_id
         FROM sync.non_matches t
         JOIN passportal.{entity} p ON p.passportal_id = t.passportal_id AND p.bms_id = t.bms_id
         WHERE t.entity = '{entity}'
           AND NOT EXISTS (FROM sync.reconciled_{entity} o WHERE o.passportal_id = t.passportal_id)
         GROUP BY ALL
     ),
     -- What the plan does not cover is as if it were out of scope, however it was reconciled.
     chosen AS (
         SELECT * FROM sync.reconciled_{entity} WHERE NOT {left_out}
         UNION ALL BY NAME
         SELECT bms_id, account_id, client_id, 'out_of_scope' AS disposition, 'not_selected' AS reason,
                false AS is_new_match, false AS needs_approval
         FROM sync.reconciled_{entity} WHERE {left_out}
     ),
     -- What both sides held when they last met: in the record's match, or in a document that it left and comes back to.
     base AS (
         SELECT NULL AS passportal_id, * FROM sync.base_{entity} UNION ALL BY NAME FROM sync.former_base_{entity}
     ),
     met AS (
         SELECT r.*, p.bms_id AS marker, d.released_id, h.bms_id IS NOT NULL AS is_handed_over, n.problem,
                -- Not even its title can be written: this key may not read it.
                coalesce(len(p.places) = 0, false) AS is_unreadable,
                -- Documented, and out of scope because it is inactive in BMS.
                r.disposition = 'out_of_scope' AND r.passportal_id IS NOT NULL AS is_retired,
                CASE WHEN r.disposition = 'to_create' THEN n.template ELSE p.template END AS template,
                {template_id} AS template_id{of_template}, {both_sides}, {has_place}, {written},
                {differing}{mapped}{links}
         FROM chosen r
         JOIN {records} b ON b.bms_id = r.bms_id
         {mapping_joins}
         LEFT JOIN passportal.{entity} p ON p.passportal_id = r.passportal_id
         LEFT JOIN base l
             ON l.bms_id = r.bms_id
            AND l.passportal_id IS NOT DISTINCT FROM CASE WHEN r.is_new_match THEN r.passportal_id END
         LEFT JOIN released d ON d.bms_id = r.bms_id
         LEFT JOIN passportal.new_records n
             ON n.entity = '{entity}' AND coalesce(n.wanted_id, '') = coalesce({wanted}, '')
         LEFT JOIN (
             SELECT DISTINCT bms_id FROM sync.pending_imports WHERE entity = '{entity}' AND reissued_at IS NULL
         ) h ON h.bms_id = r.bms_id
         {asked_for}
     ),
     judged AS (SELECT *{unlinked} FROM met),
     decided AS (
         SELECT *, {needs} AS needs,
                CASE
                    WHEN reason IN ('write_unknown', 'client_write_unknown') THEN 'skip'
                    WHEN disposition = 'to_create' AND (is_handed_over OR problem IS NOT NULL) THEN 'skip'
                    WHEN needs IS NOT NULL THEN 'skip'
                    WHEN disposition = 'to_create' THEN 'create'
                    WHEN disposition = 'matched' AND is_unreadable AND {owns} THEN 'skip'
                    WHEN disposition = 'matched' AND is_new_match THEN 'adopt'
                    WHEN {anything_written} THEN 'update'
                    WHEN disposition <> 'out_of_scope' AND released_id IS NOT NULL THEN 'update'
                    ELSE 'skip'
                END AS operation,
                CASE WHEN {anything_kept} THEN list_filter([{kept}], lambda e: e IS NOT NULL) END AS kept,
                CASE WHEN {anything_lacking} THEN list_filter([{lacking}], lambda e: e IS NOT NULL) END AS no_place,
                {listed_unlinked} AS unlinked
         FROM judged
     )
SELECT bms_id, account_id, client_id, bms_name AS name, disposition, operation, kept, no_place, needs, unlinked,
       template, template_id,
       CASE WHEN operation <> 'skip' AND NOT is_retired THEN released_id END AS unmark_id,
       CASE
           WHEN operation = 'update' AND disposition <> 'matched' AND NOT is_retired THEN released_id
           ELSE passportal_id
       END AS passportal_id,
       -- A person may give a record to another than the one whose marker it bears.
       CASE WHEN operation = 'adopt' AND marker <> bms_id AND {owns} THEN marker END AS replaces_marker_of,
       operation <> 'skip' AND (needs_approval OR released_id IS NOT NULL AND NOT is_retired) AS needs_approval,
       false AS held_back, false AS unproved,
       CASE
           WHEN operation = 'update' AND NOT ({anything_written}) THEN 'unmatched_by_person'
           WHEN operation = 'update' AND NOT ({more_than_mapped}) THEN 'mapping_changed'
           WHEN operation = 'update' AND is_retired THEN 'became_inactive'
           WHEN operation = 'update' AND NOT ({more_than_linked}) THEN 'links_completed'
           WHEN operation = 'update' AND NOT ({more_than_completed}) THEN 'details_completed'
           WHEN operation = 'update' AND ({bms_changed}) THEN 'bms_changed'
           WHEN operation = 'update' THEN 'field_ownership'
           WHEN operation = 'skip' AND disposition = 'to_create' AND is_handed_over THEN 'handed_over'
           WHEN operation = 'skip' AND needs IS NOT NULL
               THEN coalesce(problem, CASE WHEN {is_required} THEN 'required_value_missing' ELSE 'template_needs' END)
           WHEN operation = 'skip' AND disposition = 'to_create' THEN coalesce(problem, reason)
           WHEN operation = 'skip' AND disposition = 'matched' AND reason = 'branch_by_person' THEN reason
           WHEN operation = 'skip' AND disposition = 'matched' AND is_unreadable THEN 'document_unreadable'
           WHEN operation = 'skip' AND is_retired THEN reason
           WHEN operation = 'skip' AND kept IS NOT NULL THEN 'passportal_value_kept'
           WHEN operation = 'skip' AND no_place IS NOT NULL THEN 'no_place'
           WHEN operation = 'skip' AND disposition = 'matched' AND unlinked IS NOT NULL THEN 'link_waits'
           WHEN operation = 'skip' AND disposition = 'matched' THEN 'unchanged'
           ELSE reason
       END AS reason,
       {values}
FROM decided
