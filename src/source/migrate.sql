-- What strata keeps in a database whose tables it watches. Everything is in this schema, but for the triggers, which
-- are called strata_*.
CREATE SCHEMA IF NOT EXISTS strata;

-- A row for each statement that changed a watched table. keys: those of the source that it changed; NULL: all.
CREATE TABLE IF NOT EXISTS strata.change (
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    source text NOT NULL,
    keys text[],
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX IF NOT EXISTS change_xid ON strata.change (xid);

-- What is installed: definition tells the configuration that it was made of.
CREATE TABLE IF NOT EXISTS strata.source (
    name text PRIMARY KEY,
    definition text NOT NULL
);
CREATE TABLE IF NOT EXISTS strata.watch (
    source text NOT NULL REFERENCES strata.source ON DELETE CASCADE,
    relation oid NOT NULL,
    trigger name NOT NULL,
    PRIMARY KEY (source, relation, trigger)
);

-- Whether all triggers of a source are there and enabled, also on partitions that are newer than they.
CREATE OR REPLACE FUNCTION strata.is_complete(wanted text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT NOT EXISTS (
        SELECT FROM strata.watch w WHERE w.source = wanted AND NOT EXISTS (
            SELECT FROM pg_trigger t
            WHERE t.tgrelid = w.relation AND t.tgname = w.trigger AND t.tgenabled = 'A'
        )
    ) AND NOT EXISTS (
        SELECT FROM strata.watch w
        JOIN pg_inherits i ON i.inhparent = w.relation
        JOIN pg_class c ON c.oid = w.relation AND c.relkind = 'p'
        WHERE w.source = wanted AND NOT EXISTS (
            SELECT FROM strata.watch v WHERE v.source = wanted AND v.relation = i.inhrelid
        )
    )
$$;

-- Wakes those who listen, when the transaction is committed. NOTIFY makes commits wait for each other: of those that
-- are committed at once only one does so. A transaction that NOTIFYs cannot be prepared (PREPARE TRANSACTION): where
-- that is possible at all, none does, and changes are found by polling.
CREATE OR REPLACE FUNCTION strata.ring() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF current_setting('max_prepared_transactions') = '0' AND pg_try_advisory_xact_lock(1400136052, 1) THEN
        PERFORM pg_notify('strata', '');
    END IF;
    RETURN NULL;
END
$$;
DROP TRIGGER IF EXISTS ring ON strata.change;
CREATE CONSTRAINT TRIGGER ring AFTER INSERT ON strata.change
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION strata.ring();
ALTER TABLE strata.change ENABLE ALWAYS TRIGGER ring;

-- Moments, and the one up to which the log was trimmed: what is visible there may be gone.
CREATE TABLE IF NOT EXISTS strata.mark (
    taken timestamptz NOT NULL,
    snapshot pg_snapshot NOT NULL
);
CREATE TABLE IF NOT EXISTS strata.trimmed (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    snapshot pg_snapshot NOT NULL
);
INSERT INTO strata.trimmed (snapshot) VALUES (pg_current_snapshot()) ON CONFLICT DO NOTHING;

-- Deletes changes that have been visible for so long. Returns how many.
CREATE OR REPLACE FUNCTION strata.trim(retention interval) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    upto pg_snapshot;
    since timestamptz;
    gone bigint;
BEGIN
    IF NOT pg_try_advisory_xact_lock(1400136052, 2) THEN
        RETURN 0;
    END IF;
    INSERT INTO strata.mark VALUES (clock_timestamp(), pg_current_snapshot());
    SELECT taken, snapshot INTO since, upto FROM strata.mark
        WHERE taken <= clock_timestamp() - retention ORDER BY taken DESC LIMIT 1;
    IF upto IS NULL THEN
        RETURN 0;
    END IF;
    DELETE FROM strata.change WHERE xid < pg_snapshot_xmax(upto) AND pg_visible_in_snapshot(xid, upto);
    GET DIAGNOSTICS gone = ROW_COUNT;
    UPDATE strata.trimmed SET snapshot = upto;
    DELETE FROM strata.mark WHERE taken < since;
    RETURN gone;
END
$$;

-- Nobody but who installed it may do anything with it, until `strata migrate --grant` says who may read it.
REVOKE ALL ON ALL TABLES IN SCHEMA strata FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA strata FROM PUBLIC;
