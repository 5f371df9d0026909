-- In which documents of {entity} does a field get another label? There both sides have not met in it so far, so the
-- next plan fills what is empty and overwrites nothing. A document's template decides where the label is.
UPDATE sync.{base}_{entity} AS l SET {forgotten}
FROM (
    SELECT m.{key} AS key, {moved}
    FROM {documents} m
    LEFT JOIN passportal.{entity} p USING (passportal_id)
) d
WHERE l.{key} = d.key AND ({anything_moved})
