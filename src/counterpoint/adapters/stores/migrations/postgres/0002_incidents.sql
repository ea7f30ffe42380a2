-- Times in which a promise was broken.
CREATE TABLE incidents (
    place bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    incident text NOT NULL UNIQUE,
    asset text NOT NULL,
    promise text NOT NULL,
    missed bigint NOT NULL,
    begun_at timestamptz NOT NULL,
    ended_at timestamptz,
    document bytea NOT NULL
);
CREATE INDEX incidents_asset ON incidents (asset, place);
CREATE INDEX incidents_promise ON incidents (promise, place);
CREATE INDEX incidents_ended_at ON incidents (ended_at);
