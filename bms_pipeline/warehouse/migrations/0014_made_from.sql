-- What the tables of this database were last brought up to, so that one statement tells that nothing has to be (schema.py).
CREATE TABLE main.schema_stamp (stamp VARCHAR);

-- What each stored result was made from: versions of sync.inputs, digests of files. The same again need not be made again.
-- result: what the making of it reported, as JSON.
CREATE TABLE sync.made_from (name VARCHAR, inputs VARCHAR, result VARCHAR);
