-- Under which mapping was a plan made? So its load writes nowhere else, and an undo knows where it wrote. NULL: the one
-- without any setting.
-- wanted_id: the template that the mapping names for new records of some categories; '' for all others.
ALTER TABLE sync.plans ADD COLUMN mapping VARCHAR;
ALTER TABLE passportal.new_records ADD COLUMN template_id VARCHAR;
ALTER TABLE passportal.new_records ADD COLUMN wanted_id VARCHAR;
