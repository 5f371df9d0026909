-- Has the current plan an operation that no person need approve and that is not done?
SELECT count(*) > 0 FROM sync.outcomes WHERE is_operation AND NOT waits_for_person AND outcome IN ('pending', 'failed')
