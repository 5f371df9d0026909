-- What does the current plan do with each record, and under which outcome does the record count?
SELECT o.entity, o.bms_id, o.name, o.account_id AS client_bms_id, c.name AS client, o.passportal_id, o.disposition,
       o.operation, o.reason, s.waits_for_person, s.outcome AS counts_as, s.detail, o.changes, o.kept, o.no_place,
       o.unlinked
FROM sync.operations o
LEFT JOIN sync.outcomes s ON s.entity = o.entity AND s.bms_id = o.bms_id
LEFT JOIN bms.clients c ON c.bms_id = o.account_id
ORDER BY list_position(['clients', 'users', 'locations', 'contacts', 'assets'], o.entity), o.bms_id
