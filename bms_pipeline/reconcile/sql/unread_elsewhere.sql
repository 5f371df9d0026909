-- Which records of {entity} wait because their list was read for some clients alone so far, and never whole?
-- A client: another account may have its name, or nearly its name. Inside a client: another client, on either side,
-- has a key of the record that is unique in the whole tenant (a serial number); who else has it is not known yet. Or
-- another account of the same client was never read: it may have the record's name.
CREATE OR REPLACE TEMP TABLE unread_elsewhere AS
WITH unread AS (
    SELECT a.bms_id, a.passportal_id
    FROM sync.matches a
    WHERE {has_client} AND a.entity = 'clients'
      AND NOT EXISTS (FROM sync.sweeps s WHERE s.list_call = '{list_call}' AND s.client = a.bms_id)
)
SELECT r.bms_id,
       CASE
           WHEN EXISTS (FROM unread u WHERE u.passportal_id = r.client_id AND u.bms_id <> r.account_id)
               THEN 'other_account_not_read'
           ELSE '{waits_for_list}'
       END AS reason
FROM record r
WHERE {is_unread} AND r.open_to_match AND r.is_free
  AND (NOT {has_client}
       OR EXISTS (FROM record other WHERE other.is_bearer AND other.account_id <> r.account_id AND ({same_as_other}))
       OR EXISTS (FROM unread u WHERE u.passportal_id = r.client_id AND u.bms_id <> r.account_id)
       OR EXISTS (FROM passportal.{entity} other WHERE other.client_id <> r.client_id AND ({same_as_other})))
  -- An id tells who a record is, whoever else has its name or its serial number.
  AND NOT EXISTS (
          FROM pairs
          WHERE pairs.bms_id = r.bms_id AND pairs.reason IN ('bms_marker', 'integration_id_agrees')
      )
  -- A person decided to create it and imports the file: what Passportal lists by its name then is that one.
  AND NOT EXISTS (
          FROM sync.pending_imports h WHERE h.entity = '{entity}' AND h.bms_id = r.bms_id AND h.reissued_at IS NULL
      );

DELETE FROM pairs WHERE bms_id IN (SELECT bms_id FROM unread_elsewhere)
