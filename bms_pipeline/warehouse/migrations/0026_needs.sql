-- needs: the labels that the template of new records requires, each with the field that fills it (NULL: none does), and
-- whether only a refusal showed it.
ALTER TABLE passportal.new_records ADD COLUMN needs STRUCT(label VARCHAR, field VARCHAR, is_learned BOOLEAN)[];
-- Defined again by schema.py: what says in Passportal that it is inactive counts as updated.
DROP VIEW IF EXISTS sync.outcomes;
