//! What keys are made of.

use super::*;

const TABLE: &str = "CREATE TABLE users (id int PRIMARY KEY, name text, mail text, born date, photo bytea, score numeric, ok bool);
    INSERT INTO users VALUES (1, 'Ada', NULL, '1815-12-10', '\\x00ff41', 1.50, true), (2, '', 'b@x', NULL, NULL, NULL, false),
        (3, NULL, NULL, NULL, NULL, NULL, NULL);
    CREATE TYPE mood AS ENUM ('sad', 'happy');
    CREATE TABLE moods (m mood PRIMARY KEY, u uuid, d date, n numeric, c char(4), t timestamptz);
    INSERT INTO moods VALUES ('sad', '00000000-0000-0000-0000-0000000000ab', '2020-02-29', 1.50, 'ab', '2020-01-01 00:00+00')";

fn hash(loaded: Option<Loaded>) -> Vec<(String, String)> {
    match loaded.map(|loaded| loaded.content) {
        Some(Content::Hash(fields)) => {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            fields.iter().map(|(name, value)| (text(name), text(value))).collect()
        }
        other => panic!("no hash: {other:?}"),
    }
}

#[test]
fn a_key_is_a_value_a_hash_or_json() {
    let postgres = Postgres::start(&[]);
    postgres.execute(TABLE);
    let l4 = l4(
        &postgres,
        "",
        &[
            "match = 'name:{id}'\nquery = 'SELECT name FROM users WHERE id = $1 -- the name'\nttl = '7s'",
            "match = 'photo:{id}'\nquery = 'SELECT photo FROM users WHERE id = $1 ; '",
            "match = 'user:{id}'\nreply = 'hash'\nquery = 'SELECT * FROM users WHERE id = $1'",
            "match = 'json:{id}'\nreply = 'json'\nquery = 'SELECT id, name, ok FROM users WHERE id = $1'",
            "match = 'from:{a}:to:{b}'\nreply = 'json'\nrows = 'many'\nquery = '''SELECT id, name FROM users
                WHERE id BETWEEN $1 AND $2 ORDER BY id DESC'''",
            "match = 'twice:{id}'\nreply = 'hash'\nquery = 'SELECT id AS x, name AS x, ok FROM users WHERE id = $1'",
        ],
    );
    let running = Running::start(&l4);
    assert_eq!(running.value("name:1").as_deref(), Some("Ada"));
    assert_eq!(running.value("name:2").as_deref(), Some(""));
    assert_eq!((running.value("name:3"), running.value("name:4")), (None, None));
    assert_eq!(running.load("name:1").unwrap().map(|loaded| loaded.ttl), Some(Duration::from_secs(7)));
    let photo = running.load("photo:1").unwrap().map(|loaded| loaded.content);
    assert_eq!(photo, Some(Content::Value(bytes::Bytes::from_static(b"\0\xffA"))));
    let fields = [
        ("id", "1"),
        ("name", "Ada"),
        ("born", "1815-12-10"),
        ("photo", "\0\u{fffd}A"),
        ("score", "1.50"),
        ("ok", "true"),
    ];
    let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(hash(running.load("user:1").unwrap()), fields);
    assert_eq!(running.value("json:1").as_deref(), Some(r#"{"id":1,"name":"Ada","ok":true}"#));
    let many = r#"[{"id":3,"name":null},{"id":2,"name":""}]"#;
    assert_eq!(running.value("from:2:to:9").as_deref(), Some(many));
    assert_eq!(running.value("from:7:to:9"), None);
    let twice = [("x", "1"), ("ok", "true")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(hash(running.load("twice:1").unwrap()), twice);
    let state = running.sources.state();
    assert_eq!((state.sources[0].loads, state.sources[0].rows, state.sources[0].misses), (5, 3, 2));
    assert_eq!(state.sources[0].latency.count, 5);
}

/// A key that is written otherwise than PostgreSQL writes the value would not be found by a change of the row.
#[test]
fn a_part_counts_only_as_postgresql_writes_it() {
    let postgres = Postgres::start(&[]);
    postgres.execute(TABLE);
    let source =
        |column: &str| format!("match = '{column}:{{x}}'\nquery = 'SELECT m FROM moods WHERE {column} = $1'");
    let sources = ["m", "u", "d", "n", "c", "t"].map(source);
    let l4 = l4(&postgres, "", &sources.each_ref().map(String::as_str));
    let running = Running::start(&l4);
    for (key, found) in [
        ("m:sad", true),
        ("m:Sad", false),
        ("m:none", false),
        ("u:00000000-0000-0000-0000-0000000000ab", true),
        ("u:00000000-0000-0000-0000-0000000000AB", false),
        ("u:x", false),
        ("d:2020-02-29", true),
        ("d:2020-02-30", false),
        ("d:20200229", false),
        ("d:Feb 29 2020", false),
        ("n:1.50", true),
        ("n:1.5", true),
        ("n:1.500", true),
        ("n: 1.5", false),
        ("n:1e0", false),
        ("c:ab", true),
        ("c:ab  ", false),
        ("t:2020-01-01", false),
    ] {
        assert_eq!(running.value(key).as_deref(), found.then_some("sad"), "{key}");
    }
}

#[test]
fn many_keys_are_asked_for_at_once_and_answered_each() {
    let postgres = Postgres::start(&[]);
    postgres.execute(TABLE);
    let l4 = l4(
        &postgres,
        "max_connections = 1",
        &[
            "match = 'name:{id}'\nquery = 'SELECT name FROM users WHERE id = $1'",
            "match = 'bad:{id}'\nquery = 'SELECT 1/(id-1) FROM users WHERE id = $1'",
            "match = 'worse:{id}'\nquery = 'SELECT nothing FROM users WHERE id = $1'",
        ],
    );
    let running = Running::start(&l4);
    let keys = ["name:2", "bad:1", "worse:1", "name:x", "bad:2", "name:1"];
    let wanted: Vec<_> = keys.iter().map(|key| running.wanted(key)).collect();
    let outcomes = running.runtime.block_on(running.sources.load_many(&wanted));
    let shown: Vec<_> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Ok(None) => "none".to_owned(),
            Ok(Some(loaded)) => format!("{:?}", loaded.content),
            Err(failure) => failure.to_string(),
        })
        .collect();
    let expected = [
        "Value(b\"\")",
        "the database answers: error 22012",
        "the database answers: column \"nothing\" does not exist (42703)",
        "none",
        "Value(b\"1\")",
        "Value(b\"Ada\")",
    ];
    assert_eq!(shown, expected);
    // What was wrong is looked at again when the table is another.
    postgres.execute("ALTER TABLE users ADD nothing text DEFAULT 'now'");
    assert_eq!(running.value("worse:1").as_deref(), Some("now"));
}

#[test]
fn a_database_that_is_away_is_an_error_and_no_absence() {
    let mut postgres = Postgres::start(&[]);
    postgres.execute(TABLE);
    let source = "match = 'name:{id}'\nquery = 'SELECT name FROM users WHERE id = $1'";
    let more = "backoff_min = '10ms'\nbackoff_max = '20ms'";
    let l4 = l4(&postgres, more, &[source]);
    let running = Running::start(&l4);
    assert_eq!(running.value("name:1").as_deref(), Some("Ada"));
    // Connections that were cut meanwhile are noticed, and nobody is told.
    assert!(postgres.cut("strata") > 0);
    assert_eq!(running.value("name:1").as_deref(), Some("Ada"));
    postgres.stop();
    let failure = running.load("name:1").expect_err("nobody answers");
    assert!(matches!(failure, Failure::Down { .. }), "{failure}");
    assert!(failure.to_string().starts_with("the database cannot be reached: "), "{failure}");
    postgres.start_again();
    let answered = wait_until(PATIENCE, || running.load("name:1").is_ok());
    assert!(answered, "{:?}", running.load("name:1"));
}

#[test]
fn a_statement_that_takes_too_long_is_given_up() {
    let mut postgres = Postgres::start(&[]);
    let source = "match = 'slow:{n}'\nquery = 'SELECT pg_sleep($1)::text'";
    let fast = "match = 'fast:{n}'\nquery = 'SELECT $1::int'";
    let mut l4 = l4(&postgres, "", &[source, fast]);
    l4.statement_timeout = Duration::from_millis(300);
    let running = Running::start(&l4);
    assert!(running.load("slow:0").is_ok());
    assert_eq!(running.load("slow:60").map(drop), Err(Failure::Timeout(l4.statement_timeout)));
    // Others are asked for all the same.
    assert_eq!(running.value("fast:7").as_deref(), Some("7"));
    // A server that hangs does not even say so.
    postgres.pause(true);
    let hung = running.load("fast:8");
    postgres.pause(false);
    assert!(matches!(hung, Err(Failure::Timeout(_) | Failure::Down { .. })), "{hung:?}");
    assert!(wait_until(PATIENCE, || running.load("fast:8").is_ok()));
}
