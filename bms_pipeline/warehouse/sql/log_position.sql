-- How far have people's decisions, the settings and the approvals come? Cheap, because every transaction asks it twice:
-- each table is read once, and subqueries in FROM are planned in a twelfth of the time of as many in SELECT (measured).
-- A moment after $now is of a clock that was ahead: what follows is earlier, so numbers show what changed, not moments.
SELECT batch, settings, history, history_until, reissued, reissued_until, approved, approved_until, discarded,
       discarded_until, undo
FROM (SELECT coalesce(max(batch), 0) AS batch FROM sync.decisions),
     (SELECT coalesce(max(version), 0) AS settings FROM sync.input_versions WHERE name = 'settings'),
     (SELECT count(*) AS history, max(changed_at) FILTER (changed_at <= $now) AS history_until
      FROM sync.settings_history),
     (SELECT count(reissued_at) AS reissued, max(reissued_at) FILTER (reissued_at <= $now) AS reissued_until
      FROM sync.pending_imports),
     (SELECT count(approved_at) AS approved, max(approved_at) FILTER (approved_at <= $now) AS approved_until,
             count(discarded_at) AS discarded, max(discarded_at) FILTER (discarded_at <= $now) AS discarded_until,
             coalesce(max(plan_id) FILTER (undoes IS NOT NULL), 0) AS undo
      FROM sync.plans)
