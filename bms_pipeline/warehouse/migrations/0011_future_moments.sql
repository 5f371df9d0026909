-- Stored moments that lay in the future, because this machine's clock was ahead, and were made moments of found_at.
CREATE TABLE sync.future_moments (found_at TIMESTAMP, stamp VARCHAR, rows BIGINT, latest TIMESTAMP);
