-- Which updates of {entity} wait for a person, because BMS now shows another company or person under the same id?
-- Its name has nothing in common with the one that was loaded, or is the one of another matched record.
UPDATE sync.planned_{entity} SET held_back = true, reason = 'wholly_other_name'
WHERE operation = 'update' AND NOT needs_approval AND after_name IS NOT NULL
  AND (
      bms_id IN (
          SELECT l.bms_id FROM sync.base_{entity} l JOIN bms.{entity} b USING (bms_id)
          WHERE l.bms_name IS DISTINCT FROM b.name AND is_other_name(l.bms_name, b.name)
      )
      OR bms_id IN (
          SELECT b.bms_id
          FROM bms.{entity} b
          JOIN sync.base_{entity} o ON o.bms_id <> b.bms_id AND {other_key} = b.name_key
          WHERE EXISTS (FROM sync.matches m WHERE m.entity = '{entity}' AND m.bms_id = o.bms_id)
      )
  )
