-- Which new matches and creates of {entity} wait for a person, because their list was not read to a provable end?
-- Another record of the same name may be missing from it. What is inside a client that waits so waits with it.
-- Only the rows that change are updated: an update of all would write the whole table a second time.
UPDATE sync.planned_{entity}
SET unproved = NOT coalesce(unproved, false)
WHERE coalesce(unproved, false) <> coalesce(
    operation IN ('create', 'adopt') AND NOT needs_approval AND ($is_incomplete OR {inside_one}), false
)
