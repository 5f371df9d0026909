-- Has the current plan an open operation that needs no person's approval, or one that waited for an unknown write?
SELECT count(*) > 0 FROM sync.outcomes
WHERE is_operation AND NOT waits_for_person AND outcome IN ('pending', 'failed')
   OR reason IN ('write_unknown', 'client_write_unknown')
