-- Which keys did a sweep land only because the mapping names them? A list without a newly named one is read whole again.
ALTER TABLE sync.sweeps ADD COLUMN added_keys VARCHAR[];
