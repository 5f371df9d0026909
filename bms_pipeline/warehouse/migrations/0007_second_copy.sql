-- Which versions of this program wrote this database, so that an older one can name the version that it has to be.
CREATE TABLE main.writers (version VARCHAR, since TIMESTAMP);

-- Which lines of decisions.log this database holds: each is counted in the transaction that it is about.
CREATE TABLE sync.logged (number BIGINT, logged_at TIMESTAMP);
INSERT INTO sync.logged VALUES (0, NULL);
