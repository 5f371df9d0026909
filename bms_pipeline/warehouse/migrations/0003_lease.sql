-- Who may write: whoever took the lease last. One row. A writer whose epoch is no longer this one has been replaced.
CREATE TABLE sync.lease (owner VARCHAR, epoch BIGINT, taken_at TIMESTAMP);
