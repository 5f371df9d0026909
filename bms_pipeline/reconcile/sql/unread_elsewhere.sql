-- Which records of {entity} wait because their list was read for some clients alone so far, and never whole?
-- A client: another account may have its name, or nearly its name. Inside a client: another client, on either side, has a
-- key of the record that is unique in the whole tenant (a serial number); who else has it is not known yet.
CREATE OR REPLACE TEMP TABLE unread_elsewhere AS
SELECT r.bms_id
FROM record r
WHERE {is_unread} AND r.open_to_match AND r.is_free
  AND (NOT {has_client}
       OR EXISTS (FROM record other WHERE other.is_bearer AND other.account_id <> r.account_id AND ({same_as_other}))
       OR EXISTS (FROM passportal.{entity} other WHERE other.client_id <> r.client_id AND ({same_as_other})))
