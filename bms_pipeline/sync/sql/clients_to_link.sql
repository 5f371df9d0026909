-- Which clients of the current plan wait for a person because the whole list of accounts was not read yet?
SELECT bms_id, name FROM sync.planned_clients WHERE reason = 'accounts_not_all_read' ORDER BY bms_id
