-- Who decided, approved or set something?
SELECT decided_by AS person FROM sync.decisions WHERE decided_by IS NOT NULL
UNION SELECT changed_by FROM sync.settings_history WHERE changed_by IS NOT NULL
UNION SELECT approved_by FROM sync.plans WHERE approved_by IS NOT NULL
UNION SELECT decided_by FROM sync.exclusions WHERE decided_by IS NOT NULL
UNION SELECT decided_by FROM sync.non_matches WHERE decided_by IS NOT NULL
UNION SELECT decided_by FROM sync.approved_creates WHERE decided_by IS NOT NULL
