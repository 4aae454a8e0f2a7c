//! What `strata migrate` installs, and takes away.

use super::*;

const TABLES: &str = "CREATE SCHEMA app; CREATE TABLE users (id int PRIMARY KEY, name text);
    CREATE TABLE app.\"Orders\" (id int, user_id bigint, n numeric);
    CREATE TABLE parted (id int, d text) PARTITION BY RANGE (id);
    CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
    CREATE VIEW v AS SELECT * FROM users; CREATE MATERIALIZED VIEW m AS SELECT * FROM users";

const USERS: &str = "match = 'user:{id}'\nquery = 'SELECT name FROM users WHERE id = $1'\n\
    watch = ['users', 'app.\"Orders\"(user_id)', 'parted']";

#[test]
fn is_idempotent_and_reversible() {
    let postgres = Postgres::start(&[]);
    postgres.execute(TABLES);
    let objects = "SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal UNION ALL SELECT count(*) FROM pg_proc \
        WHERE pronamespace >= 16384 ORDER BY 1 DESC";
    let l4 = l4(&postgres, "", &[USERS]);
    let dry = Migration { dry_run: true, ..Migration::default() };
    let (said, sql) = try_migrate(&l4, &dry).unwrap();
    assert_eq!(postgres.ask("SELECT to_regnamespace('strata')::text"), None);
    assert!(sql.contains("CREATE SCHEMA IF NOT EXISTS strata;"), "{sql}");
    let expected = [
        "the change log: installed, as schema strata",
        "user:{id}: public.users, by id",
        "user:{id}: app.\"Orders\", by user_id",
        "user:{id}: public.parted, by id",
        "user:{id}: public.parted_1, by id",
    ];
    assert_eq!(said, expected);
    assert_eq!(migrated(&l4, &Migration::default()), expected);
    // Four for each of four tables, and that of the log.
    assert_eq!(postgres.ask(objects).as_deref(), Some("17"));
    let again = try_migrate(&l4, &Migration::default()).unwrap();
    assert_eq!(again.0, ["the change log: there already", "user:{id}: there already"]);
    assert_eq!(again.1, "");
    // What is missing, or of another configuration, is made anew.
    postgres.execute("ALTER TABLE users DISABLE TRIGGER ALL");
    assert_eq!(migrated(&l4, &Migration::default())[1..], expected[1..]);
    let other = super::l4(&postgres, "", &[&USERS.replace("'parted'", "'parted(*)'")]);
    assert_eq!(
        migrated(&other, &Migration::default())[3],
        "user:{id}: public.parted, each change is about all keys (as configured)"
    );
    assert_eq!(postgres.ask(objects).as_deref(), Some("17"));
    let undo = Migration { undo: true, ..Migration::default() };
    // The functions of a table that is gone are left, and go with the rest.
    postgres.execute("DROP TABLE app.\"Orders\"");
    assert_eq!(migrated(&other, &undo), ["removed 12 triggers and the schema strata"]);
    assert_eq!(postgres.ask(objects).as_deref(), Some("0"));
    assert_eq!(migrated(&other, &undo), ["nothing is installed"]);
    postgres.execute("INSERT INTO users VALUES (1, 'x'); TRUNCATE parted");
}

#[test]
fn says_what_cannot_be_watched() {
    let postgres = Postgres::start(&[]);
    postgres.execute(TABLES);
    for (watch, says) in [
        ("nowhere", "there is no such table"),
        ("v", "v: is a view: name the tables that it reads"),
        ("m", "m: is a materialized view: nothing tells of its changes"),
        ("users(nothing)", "public.users: it has no column nothing"),
        ("users; DROP TABLE users", "there is no such table"),
    ] {
        let source = format!("match = 'user:{{id}}'\nquery = 'SELECT $1::int'\nwatch = '{watch}'");
        let wrong = try_migrate(&l4(&postgres, "", &[&source]), &Migration::default()).expect_err(watch);
        assert!(
            wrong.ends_with(says) || wrong.contains("invalid name syntax") || wrong.contains("syntax error"),
            "{watch}: {wrong}"
        );
    }
    let wrong = try_migrate(
        &l4(&postgres, "", &["match = '{a}'\nquery = 'SELECT nothing'\nwatch = 'users'"]),
        &Migration::default(),
    );
    assert!(wrong.expect_err("no column").contains("column \"nothing\" does not exist"));
    assert_eq!(postgres.ask("SELECT to_regnamespace('strata')::text"), None);
}

/// Where equal values may be different texts, or a table has no such column, nobody can say which keys a row is about.
#[test]
fn a_change_is_about_all_keys_where_keys_cannot_be_told() {
    let postgres = Postgres::start(&[]);
    postgres.execute(TABLES);
    for (pattern, query, watch, says) in [
        (
            "{n}",
            "SELECT 1 WHERE $1 = 1.5",
            "app.\"Orders\"(n)",
            "values of n as numeric may be equal and look different",
        ),
        ("{id}", "SELECT 1 WHERE $1 = '1'", "users", "values of id as text may be equal and look different"),
        ("{x}", "SELECT $1::int", "users", "it has no column x"),
        ("{id}:{x}", "SELECT $1::int", "users(id, id)", "the query does not use each part"),
    ] {
        let source =
            format!("match = '{pattern}'\nquery = \"{}\"\nwatch = '{watch}'", query.replace('"', "\\\""));
        let l4 = l4(&postgres, "", &[&source]);
        let (said, _) = try_migrate(&l4, &Migration { dry_run: true, ..Migration::default() }).unwrap();
        let all = "each change is about all keys";
        assert!(said[1].ends_with(&format!("{all} ({says})")), "{said:?}");
    }
}

#[test]
fn a_role_that_strata_comes_as_needs_no_more_than_it_is_given() {
    let postgres = Postgres::start(&[]);
    postgres.execute(TABLES);
    postgres.execute(
        "CREATE ROLE reader LOGIN; GRANT SELECT ON users TO reader; CREATE ROLE writer LOGIN; \
        GRANT INSERT ON users TO writer",
    );
    let mut l4 = l4(
        &postgres,
        "",
        &["match = 'user:{id}'\nquery = 'SELECT name FROM users WHERE id = $1'\nwatch = 'users'"],
    );
    migrated(&l4, &Migration { grant: Some("reader".to_owned()), ..Migration::default() });
    l4.url = l4.url.replace("strata@", "reader@");
    let mut running = Running::start(&l4);
    running.settle();
    // Who writes needs to know nothing of it.
    postgres.execute("SET ROLE writer; INSERT INTO users VALUES (1, 'a')");
    running.until_told("user:1");
    assert_eq!(running.value("user:1").as_deref(), Some("a"));
    let denied = "SET ROLE writer; SELECT count(*) FROM strata.change";
    let (runtime, client) = postgres.connect();
    let error = runtime.block_on(client.batch_execute(denied)).expect_err("it is not the writer's affair");
    assert_eq!(error.code().map(|code| code.code()), Some("42501"));
    let denied = "RESET ROLE; SET ROLE reader; DELETE FROM strata.change";
    let error = runtime.block_on(client.batch_execute(denied)).expect_err("only by strata.trim");
    assert_eq!(error.code().map(|code| code.code()), Some("42501"));
    postgres.execute("SET ROLE reader; SELECT strata.trim('1 second')");
}
