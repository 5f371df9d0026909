-- What distinguishes one state worth copying from another: first what loads change, then what people change?
SELECT concat_ws(' ', (SELECT count(*) FROM sync.matches), (SELECT max(matched_at) FROM sync.matches),
                 (SELECT concat_ws(' ', count(*), count(written_at)) FROM sync.pending_imports),
                 (SELECT concat_ws(' ', count(*), count(outcome), max(outcome_at)) FROM sync.journal),
                 (SELECT max(loaded_at) FROM sync.plans)) AS loaded,
       concat_ws(' ', (SELECT max(batch) FROM sync.decisions), (SELECT count(*) FROM sync.exclusions),
                 (SELECT count(*) FROM sync.approved_creates), (SELECT count(*) FROM sync.non_matches),
                 (SELECT max(version) FROM sync.input_versions WHERE name = 'settings'),
                 (SELECT count(*) FROM sync.settings),
                 (SELECT count(*) FROM sync.settings_history), (SELECT count(reissued_at) FROM sync.pending_imports),
                 (SELECT max(number) FROM sync.logged)) AS decided
