-- What started a run, in columns of its own: its kind (command, dagster, console), how it is called, and Dagster's id of it.
ALTER TABLE sync.runs RENAME COLUMN what TO label;
ALTER TABLE sync.runs ADD COLUMN kind VARCHAR;
ALTER TABLE sync.runs ADD COLUMN run_id VARCHAR;
UPDATE sync.runs SET
    kind = CASE WHEN starts_with(label, 'Dagster run ') THEN 'dagster'
                WHEN ends_with(label, ' in the review console') THEN 'console'
                ELSE 'command' END,
    run_id = CASE WHEN starts_with(label, 'Dagster run ') THEN split_part(label, ' ', 3) END;

-- The field's words for tables and columns.
DROP VIEW IF EXISTS sync.operations;
DROP VIEW IF EXISTS sync.outcomes;
ALTER TABLE sync.partings RENAME TO non_matches;
ALTER TABLE sync.creations RENAME COLUMN beside TO allow_duplicate;
ALTER TABLE sync.creations RENAME TO approved_creates;
ALTER TABLE sync.inputs RENAME TO input_versions;
ALTER TABLE sync.journal RENAME COLUMN releases TO unmark_id;
ALTER TABLE sync.hand_overs RENAME COLUMN forgotten_at TO reissued_at;
ALTER TABLE sync.hand_overs RENAME COLUMN forgotten_by TO reissued_by;
ALTER TABLE sync.hand_overs RENAME TO pending_imports;
UPDATE sync.decisions SET was = replace(was, ' ', '_') WHERE was IN ('to create', 'out of scope');
UPDATE sync.decisions SET became = replace(became, ' ', '_') WHERE became IN ('to create', 'out of scope');
