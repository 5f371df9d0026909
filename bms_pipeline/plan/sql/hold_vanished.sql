-- Which new matches and creates of {entity} wait for a person, because most of the client's documents are not listed
-- more? What BMS lists may be among those.
UPDATE sync.planned_{entity} SET held_back = true, reason = 'documents_vanished'
WHERE operation IN ('create', 'adopt') AND NOT needs_approval AND client_id IN (SELECT unnest($clients::VARCHAR[]))
