-- Which records did Passportal refuse in the current plan, and why?
SELECT entity, bms_id, account_id, detail FROM sync.outcomes WHERE outcome = 'failed' ORDER BY entity, bms_id
