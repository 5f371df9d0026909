-- What the target tells of new records of an entity: the name of their template, the columns that it has a place for
-- (NULL: all), and why no new record can be made now (a NewRecords word; NULL where nothing stands in the way).
CREATE TABLE passportal.new_records (entity VARCHAR, template VARCHAR, places VARCHAR[], problem VARCHAR);
