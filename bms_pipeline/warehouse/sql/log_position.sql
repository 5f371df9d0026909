-- How far have people's decisions, the settings and the approvals come? Cheap, because every transaction asks it twice.
-- A moment after $now is of a clock that was ahead: what follows is earlier, so numbers show what changed, not moments.
SELECT (SELECT coalesce(max(batch), 0) FROM sync.decisions) AS batch,
       (SELECT coalesce(max(version), 0) FROM sync.inputs WHERE name = 'settings') AS settings,
       (SELECT count(*) FROM sync.settings_history) AS history,
       (SELECT max(changed_at) FILTER (changed_at <= $now) FROM sync.settings_history) AS history_until,
       (SELECT count(forgotten_at) FROM sync.hand_overs) AS forgotten,
       (SELECT max(forgotten_at) FILTER (forgotten_at <= $now) FROM sync.hand_overs) AS forgotten_until,
       (SELECT count(approved_at) FROM sync.plans) AS approved,
       (SELECT max(approved_at) FILTER (approved_at <= $now) FROM sync.plans) AS approved_until,
       (SELECT coalesce(max(plan_id), 0) FROM sync.plans WHERE undoes IS NOT NULL) AS undo
