-- What `doctor` saw of a service's habits: one row for each value, from when it was first seen. The newest row of a name counts.
CREATE TABLE sync.facts (name VARCHAR, value VARCHAR, how VARCHAR, seen_at TIMESTAMP);
