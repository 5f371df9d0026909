-- How far have people's decisions, the settings and the approvals come? Cheap, because every transaction asks it twice:
-- each table is read once, and subqueries in FROM are planned in a twelfth of the time of as many in SELECT (measured).
-- A moment after $now is of a clock that was ahead: what follows is earlier, so numbers show what changed, not moments.
SELECT batch, settings, history, history_until, forgotten, forgotten_until, approved, approved_until, undo
FROM (SELECT coalesce(max(batch), 0) AS batch FROM sync.decisions),
     (SELECT coalesce(max(version), 0) AS settings FROM sync.inputs WHERE name = 'settings'),
     (SELECT count(*) AS history, max(changed_at) FILTER (changed_at <= $now) AS history_until
      FROM sync.settings_history),
     (SELECT count(forgotten_at) AS forgotten, max(forgotten_at) FILTER (forgotten_at <= $now) AS forgotten_until
      FROM sync.hand_overs),
     (SELECT count(approved_at) AS approved, max(approved_at) FILTER (approved_at <= $now) AS approved_until,
             coalesce(max(plan_id) FILTER (undoes IS NOT NULL), 0) AS undo
      FROM sync.plans)
