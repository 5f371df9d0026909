-- Every run that held the home folder. The one with the highest epoch may write; a writer with another has been replaced.
-- ended_at is empty while it is at work, and where it was killed; failed_because where it did what it should.
CREATE TABLE sync.runs (
    epoch BIGINT, what VARCHAR, started_at TIMESTAMP, ended_at TIMESTAMP, failed_because VARCHAR
);
INSERT INTO sync.runs SELECT epoch, owner, taken_at, taken_at, NULL FROM sync.lease;
DROP TABLE sync.lease;
