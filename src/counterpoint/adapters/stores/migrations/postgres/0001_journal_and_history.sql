-- Every index over a filter ends with what pages are ordered by.

-- What has been done to the schema.
CREATE TABLE migrations (
    number integer PRIMARY KEY,
    name text NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);

-- One row: the epoch of who leads, and the seq of the newest fact, which outlives a cut of the journal. Each
-- commit updates it; a low fillfactor leaves room to do so in the same page.
CREATE TABLE head (
    id integer PRIMARY KEY CHECK (id = 1),
    epoch bigint NOT NULL,
    seq bigint NOT NULL
) WITH (fillfactor = 10);
INSERT INTO head (id, epoch, seq) VALUES (1, 0, 0);

CREATE TABLE journal (
    seq bigint PRIMARY KEY,
    at timestamptz NOT NULL,
    kind text NOT NULL,
    body bytea NOT NULL
);

-- The body is compressed with zlib; EXTERNAL keeps the server from trying again.
CREATE TABLE snapshots (
    seq bigint PRIMARY KEY,
    version integer NOT NULL,
    body bytea NOT NULL
);
ALTER TABLE snapshots ALTER COLUMN body SET STORAGE EXTERNAL;

CREATE TABLE events (
    number bigint PRIMARY KEY,
    source text NOT NULL,
    id text NOT NULL,
    type text NOT NULL,
    subject text NOT NULL,
    time timestamptz NOT NULL,
    accepted_at timestamptz NOT NULL,
    digest text NOT NULL,
    envelope bytea NOT NULL,
    UNIQUE (id, source)
);
CREATE INDEX events_source ON events (source, number);
CREATE INDEX events_type ON events (type, number);
CREATE INDEX events_subject ON events (subject, number);
CREATE INDEX events_accepted_at ON events (accepted_at);

CREATE TABLE runs (
    ordinal bigint PRIMARY KEY,
    run text NOT NULL UNIQUE,
    pipeline text NOT NULL,
    key text NOT NULL,
    partition text NOT NULL,
    phase text NOT NULL,
    lane text NOT NULL,
    created_at timestamptz NOT NULL,
    started_at timestamptz,
    ended_at timestamptz,
    document bytea NOT NULL
);
CREATE INDEX runs_pipeline ON runs (pipeline, ordinal);
CREATE INDEX runs_phase ON runs (phase, ordinal);
CREATE INDEX runs_key ON runs (key, ordinal);
CREATE INDEX runs_partition ON runs (partition, ordinal);
CREATE INDEX runs_ended_at ON runs (ended_at);

CREATE TABLE attempts (
    place bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    attempt text NOT NULL UNIQUE,
    run text NOT NULL,
    task text NOT NULL,
    number bigint NOT NULL,
    phase text NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at timestamptz,
    document bytea NOT NULL
);
CREATE INDEX attempts_run ON attempts (run, place);
CREATE INDEX attempts_task ON attempts (task, place);
CREATE INDEX attempts_phase ON attempts (phase, place);
CREATE INDEX attempts_ended_at ON attempts (ended_at);

CREATE TABLE versions (
    place bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    asset text NOT NULL,
    partition text NOT NULL,
    seq bigint NOT NULL,
    at timestamptz NOT NULL,
    by text NOT NULL,
    document bytea NOT NULL,
    UNIQUE (asset, partition, seq)
);
CREATE INDEX versions_asset ON versions (asset, place);
CREATE INDEX versions_partition ON versions (partition, place);
CREATE INDEX versions_by ON versions (by, place);
CREATE INDEX versions_at ON versions (at);

CREATE TABLE items (
    number bigint PRIMARY KEY,
    change bigint NOT NULL,
    pipeline text NOT NULL,
    state text NOT NULL,
    run text NOT NULL,
    at timestamptz NOT NULL,
    document bytea NOT NULL
);
CREATE INDEX items_pipeline ON items (pipeline, number);
CREATE INDEX items_state ON items (state, number);
CREATE INDEX items_run ON items (run, number);
CREATE INDEX items_change ON items (change, number);
CREATE INDEX items_at ON items (at);
