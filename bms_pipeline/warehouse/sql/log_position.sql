-- How far have people's decisions, the settings and the approvals come? Cheap, because every transaction asks it twice.
SELECT (SELECT coalesce(max(batch), 0) FROM sync.decisions) AS batch,
       (SELECT coalesce(max(version), 0) FROM sync.inputs WHERE name = 'settings') AS settings,
       (SELECT max(changed_at) FROM sync.settings_history) AS history_until,
       (SELECT max(forgotten_at) FROM sync.hand_overs) AS forgotten_until,
       (SELECT max(approved_at) FROM sync.plans) AS approved_until,
       (SELECT coalesce(max(plan_id), 0) FROM sync.plans WHERE undoes IS NOT NULL) AS undo
