-- Times in which a promise was broken.
CREATE TABLE incidents (
    place INTEGER PRIMARY KEY,
    incident TEXT NOT NULL UNIQUE,
    asset TEXT NOT NULL,
    promise TEXT NOT NULL,
    missed INTEGER NOT NULL,
    begun_at INTEGER NOT NULL,
    ended_at INTEGER,
    document BLOB NOT NULL
);
CREATE INDEX incidents_asset ON incidents (asset);
CREATE INDEX incidents_promise ON incidents (promise);
CREATE INDEX incidents_ended_at ON incidents (ended_at);
