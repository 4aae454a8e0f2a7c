//! Who follows the change log hears of every change, whatever happens to its connection, and says of what was loaded
//! whether it changed meanwhile.

use super::*;

const TABLE: &str = "CREATE TABLE users (id int PRIMARY KEY, name text); CREATE TABLE settings (name text);
    INSERT INTO users SELECT n, 'first' FROM generate_series(1, 100) AS n";

const USERS: &str =
    "match = 'user:{id}'\nquery = 'SELECT name FROM users WHERE id = $1'\nwatch = ['users', 'settings']";

const LOOSE: &str = "match = 'loose:{id}'\nquery = 'SELECT name FROM users WHERE id = $1'";

fn keys(change: Change) -> Vec<String> {
    match change {
        Change::Keys { source: 0, keys } => {
            let mut keys: Vec<_> = keys.iter().map(|key| String::from_utf8_lossy(key).into_owned()).collect();
            keys.sort();
            keys.dedup();
            keys
        }
        other => panic!("{other:?}"),
    }
}

fn started(postgres: &Postgres, more: &str) -> (L4, Running) {
    postgres.execute(TABLE);
    let l4 = l4(postgres, more, &[USERS]);
    migrated(&l4, &Migration::default());
    let mut running = Running::start(&l4);
    running.settle();
    (l4, running)
}

#[test]
fn every_kind_of_statement_is_told_by_its_keys() {
    let postgres = Postgres::start(&[]);
    let (_, mut running) = started(&postgres, "");
    for (statement, told) in [
        ("UPDATE users SET name = 'x' WHERE id IN (1, 2)", vec!["user:1", "user:2"]),
        ("DELETE FROM users WHERE id = 3", vec!["user:3"]),
        ("INSERT INTO users VALUES (3, 'y'), (101, 'z')", vec!["user:101", "user:3"]),
        ("UPDATE users SET id = 200 WHERE id = 100", vec!["user:100", "user:200"]),
        ("INSERT INTO users VALUES (1, 'i') ON CONFLICT (id) DO UPDATE SET name = 'j'", vec!["user:1"]),
        ("SET session_replication_role = replica; UPDATE users SET name = 'r' WHERE id = 5", vec!["user:5"]),
    ] {
        postgres.execute(statement);
        // An INSERT that does nothing but an UPDATE is told as both.
        let heard = keys(running.change());
        assert!(
            heard == told || heard.is_empty() && keys(running.change()) == told,
            "{statement}: {heard:?}"
        );
    }
    for statement in [
        "INSERT INTO settings VALUES ('a')",
        "TRUNCATE users",
        "INSERT INTO users SELECT n FROM generate_series(1, 10001) AS n",
    ] {
        running.settle();
        postgres.execute(statement);
        assert_eq!(running.change(), Change::All { source: 0 }, "{statement}");
    }
    running.settle();
    postgres.execute("BEGIN; UPDATE users SET name = 'no' WHERE id = 7; ROLLBACK; UPDATE users SET name = 'n' WHERE id = -1");
    postgres.execute("UPDATE users SET name = 'yes' WHERE id = 8");
    assert_eq!(keys(running.change()), ["user:8"]);
}

/// Commits in another order than the transactions began in.
#[test]
fn a_transaction_that_lasts_is_not_overlooked() {
    let postgres = Postgres::start(&[]);
    let (_, mut running) = started(&postgres, "");
    let (runtime, client) = postgres.connect();
    runtime.block_on(client.batch_execute("BEGIN; UPDATE users SET name = 'slow' WHERE id = 1")).unwrap();
    let before = running.load("user:1").unwrap().unwrap();
    for n in 2..12 {
        postgres.execute(&format!("UPDATE users SET name = 'fast' WHERE id = {n}"));
        assert_eq!(keys(running.change()), [format!("user:{n}")]);
    }
    assert_eq!(running.confirm("user:1", &before), Ok(Confirmed::Unchanged));
    runtime.block_on(client.batch_execute("COMMIT")).unwrap();
    assert_eq!(running.confirm("user:1", &before), Ok(Confirmed::Changed));
    running.until_told("user:1");
    assert_eq!(running.value("user:1").as_deref(), Some("slow"));
}

#[test]
fn what_was_loaded_before_a_change_is_not_confirmed() {
    let postgres = Postgres::start(&[]);
    let (_, running) = started(&postgres, "");
    let one = running.load("user:1").unwrap().unwrap();
    let two = running.load("user:2").unwrap().unwrap();
    assert_eq!(running.confirm("user:1", &one), Ok(Confirmed::Unchanged));
    for statement in [
        "UPDATE users SET name = 'x' WHERE id = 1",
        "BEGIN; SAVEPOINT s; DELETE FROM users WHERE id = 1; RELEASE s; COMMIT",
    ] {
        let one = running.load("user:1").unwrap().unwrap();
        postgres.execute(statement);
        assert_eq!(running.confirm("user:1", &one), Ok(Confirmed::Changed));
        assert_eq!(running.confirm("user:2", &two), Ok(Confirmed::Unchanged));
    }
    postgres.execute("DELETE FROM settings; INSERT INTO settings VALUES ('x')");
    assert_eq!(running.confirm("user:2", &two), Ok(Confirmed::Changed));
    let two = running.load("user:2").unwrap().unwrap();
    assert_eq!(running.confirm("user:2", &two), Ok(Confirmed::Unchanged));
}

#[test]
fn what_is_missed_while_the_connection_is_away_is_read_afterwards() {
    let mut postgres = Postgres::start(&[]);
    let (_, mut running) = started(&postgres, "backoff_min = '10ms'\nbackoff_max = '50ms'");
    for round in 0..3 {
        let (runtime, client) = postgres.connect();
        assert!(postgres.cut("strata") > 0);
        runtime.block_on(client.batch_execute("UPDATE users SET name = 'cut' WHERE id = 9")).unwrap();
        assert_eq!(keys(running.change()), ["user:9"], "round {round}");
    }
    let one = running.load("user:1").unwrap().unwrap();
    postgres.stop();
    let failed = running.confirm("user:1", &one);
    assert!(matches!(failed, Err(Failure::Behind(_))), "{failed:?}");
    postgres.start_again();
    postgres.execute("UPDATE users SET name = 'back' WHERE id = 10");
    assert_eq!(keys(running.change()), ["user:10"]);
    running.settle();
    assert_eq!(running.confirm("user:1", &one), Ok(Confirmed::Unchanged));
    assert_eq!(running.sources.state().follower.resets, 0);
}

#[test]
fn who_comes_back_after_the_log_was_trimmed_takes_all_for_changed() {
    let postgres = Postgres::start(&[]);
    postgres.execute(TABLE);
    postgres.execute("CREATE ROLE follower LOGIN");
    let mut l4 = l4(&postgres, "backoff_min = '10ms'\nbackoff_max = '50ms'", &[USERS]);
    migrated(&l4, &Migration { grant: Some("follower".to_owned()), ..Migration::default() });
    l4.url = l4.url.replace("strata@", "follower@");
    let mut running = Running::start(&l4);
    running.settle();
    postgres.execute("ALTER ROLE follower NOLOGIN");
    assert!(postgres.cut("strata") > 0);
    assert!(wait_until(PATIENCE, || running.sources.state().follower.trouble.is_some()));
    postgres.execute("UPDATE users SET name = 'x' WHERE id = 1");
    postgres.execute("TRUNCATE strata.change");
    postgres.execute("UPDATE strata.trimmed SET snapshot = pg_current_snapshot()");
    postgres.execute("ALTER ROLE follower LOGIN");
    assert_eq!(running.change(), Change::All { source: 0 });
    assert_eq!(running.sources.state().follower.resets, 1);
}

#[test]
fn trimming_leaves_what_is_young() {
    let postgres = Postgres::start(&[]);
    let (_, mut running) = started(&postgres, "");
    let one = running.load("user:1").unwrap().unwrap();
    postgres.execute("UPDATE users SET name = 'old' WHERE id = 1");
    running.until_told("user:1");
    let rows = "SELECT string_agg(keys[1], ' ') FROM strata.change WHERE keys IS NOT NULL";
    assert_eq!(postgres.ask(rows).as_deref(), Some("user:1"));
    // A mark is set by each call, and used when it is a second old.
    let trimmed = wait_until(PATIENCE, || {
        running.confirm("user:1", &one).unwrap();
        postgres.execute("SELECT strata.trim('1 second')");
        postgres.ask(rows).is_none()
    });
    assert!(trimmed);
    postgres.execute("UPDATE users SET name = 'young' WHERE id = 2");
    postgres.execute("SELECT strata.trim('1 hour')");
    assert_eq!(postgres.ask(rows).as_deref(), Some("user:2"));
    running.until_told("user:2");
    assert_eq!(running.sources.state().follower.resets, 0);
}

/// Nothing may be believed to be unchanged while changes are not told.
#[test]
fn without_its_triggers_nothing_is_confirmed() {
    let postgres = Postgres::start(&[]);
    postgres.execute(TABLE);
    let l4 = l4(&postgres, "poll_interval = '50ms'\nbackoff_max = '100ms'", &[USERS, LOOSE]);
    let mut running = Running::start(&l4);
    let one = running.load("user:1").unwrap().unwrap();
    let away = running.confirm("user:1", &one);
    assert!(matches!(away, Err(Failure::Behind(_))), "{away:?}");
    migrated(&l4, &Migration::default());
    let followed = wait_until(PATIENCE, || {
        running.unwatched(0).is_none() && running.sources.state().follower.trouble.is_none()
    });
    assert!(followed, "{:?}", running.sources.state());
    let one = running.load("user:1").unwrap().unwrap();
    assert_eq!(running.confirm("user:1", &one), Ok(Confirmed::Unchanged));
    let loose = running.load("loose:1").unwrap().unwrap();
    let unwatched = running.confirm("loose:1", &loose);
    assert_eq!(unwatched, Err(Failure::Behind("no table is watched (watch)".to_owned())));
    while running.changes.try_recv().is_some() {}
    for statement in [
        "ALTER TABLE users DISABLE TRIGGER ALL",
        "DROP TABLE settings; CREATE TABLE public.settings (name text)",
        "UPDATE strata.source SET definition = 'x'",
        "DROP SCHEMA strata CASCADE",
    ] {
        postgres.execute(statement);
        let noticed = wait_until(PATIENCE, || {
            running.unwatched(0).is_some() || running.sources.state().follower.trouble.is_some()
        });
        assert!(noticed, "{statement}");
        let refused = running.confirm("user:1", &one);
        assert!(matches!(refused, Err(Failure::Behind(_))), "{statement}: {refused:?}");
        migrated(&l4, &Migration::default());
        let again = wait_until(PATIENCE, || {
            running.unwatched(0).is_none() && running.sources.state().follower.trouble.is_none()
        });
        assert!(again, "{statement}: {:?}", running.sources.state());
        assert_eq!(running.confirm("user:1", &one), Ok(Confirmed::Changed), "{statement}");
    }
}

/// Where transactions can be prepared nobody is woken, and changes are found all the same.
#[test]
fn prepared_transactions_are_possible_and_followed() {
    let postgres = Postgres::start(&["max_prepared_transactions=10"]);
    let (_, mut running) = started(&postgres, "poll_interval = '50ms'");
    postgres.execute("BEGIN; UPDATE users SET name = 'p' WHERE id = 1; PREPARE TRANSACTION 'p'");
    postgres.execute("UPDATE users SET name = 'q' WHERE id = 2");
    assert_eq!(keys(running.change()), ["user:2"]);
    postgres.execute("COMMIT PREPARED 'p'");
    assert_eq!(keys(running.change()), ["user:1"]);
}
