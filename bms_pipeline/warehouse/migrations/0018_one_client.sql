-- The only client that the sweep read (its BMS account id, mode client); NULL: the sweep is about all records of the list.
ALTER TABLE sync.sweeps ADD COLUMN client BIGINT;
