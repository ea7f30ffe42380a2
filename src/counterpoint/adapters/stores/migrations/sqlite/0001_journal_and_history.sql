-- Times are microseconds since 1970-01-01T00:00Z. What pages are ordered by is the rowid, which ends every index.

-- What has been done to the schema.
CREATE TABLE migrations (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
);

-- One row: the epoch of who leads, and the seq of the newest fact, which outlives a cut of the journal.
CREATE TABLE head (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL
);
INSERT INTO head (id, epoch, seq) VALUES (1, 0, 0);

CREATE TABLE journal (
    seq INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    body BLOB NOT NULL
);

-- The body is compressed with zlib.
CREATE TABLE snapshots (
    seq INTEGER PRIMARY KEY,
    version INTEGER NOT NULL,
    body BLOB NOT NULL
);

CREATE TABLE events (
    number INTEGER PRIMARY KEY,
    source TEXT NOT NULL,
    id TEXT NOT NULL,
    type TEXT NOT NULL,
    subject TEXT NOT NULL,
    time INTEGER NOT NULL,
    accepted_at INTEGER NOT NULL,
    digest TEXT NOT NULL,
    envelope BLOB NOT NULL,
    UNIQUE (id, source)
);
CREATE INDEX events_source ON events (source);
CREATE INDEX events_type ON events (type);
CREATE INDEX events_subject ON events (subject);
CREATE INDEX events_accepted_at ON events (accepted_at);

CREATE TABLE runs (
    ordinal INTEGER PRIMARY KEY,
    run TEXT NOT NULL UNIQUE,
    pipeline TEXT NOT NULL,
    key TEXT NOT NULL,
    partition TEXT NOT NULL,
    phase TEXT NOT NULL,
    lane TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    ended_at INTEGER,
    document BLOB NOT NULL
);
CREATE INDEX runs_pipeline ON runs (pipeline);
CREATE INDEX runs_phase ON runs (phase);
CREATE INDEX runs_key ON runs (key);
CREATE INDEX runs_partition ON runs (partition);
CREATE INDEX runs_ended_at ON runs (ended_at);

CREATE TABLE attempts (
    place INTEGER PRIMARY KEY,
    attempt TEXT NOT NULL UNIQUE,
    run TEXT NOT NULL,
    task TEXT NOT NULL,
    number INTEGER NOT NULL,
    phase TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at INTEGER,
    document BLOB NOT NULL
);
CREATE INDEX attempts_run ON attempts (run);
CREATE INDEX attempts_task ON attempts (task);
CREATE INDEX attempts_phase ON attempts (phase);
CREATE INDEX attempts_ended_at ON attempts (ended_at);

CREATE TABLE versions (
    place INTEGER PRIMARY KEY,
    asset TEXT NOT NULL,
    partition TEXT NOT NULL,
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    by TEXT NOT NULL,
    document BLOB NOT NULL,
    UNIQUE (asset, partition, seq)
);
CREATE INDEX versions_asset ON versions (asset);
CREATE INDEX versions_partition ON versions (partition);
CREATE INDEX versions_by ON versions (by);
CREATE INDEX versions_at ON versions (at);

CREATE TABLE items (
    number INTEGER PRIMARY KEY,
    change INTEGER NOT NULL,
    pipeline TEXT NOT NULL,
    state TEXT NOT NULL,
    run TEXT NOT NULL,
    at INTEGER NOT NULL,
    document BLOB NOT NULL
);
CREATE INDEX items_pipeline ON items (pipeline);
CREATE INDEX items_state ON items (state);
CREATE INDEX items_run ON items (run);
CREATE INDEX items_change ON items (change);
CREATE INDEX items_at ON items (at);
