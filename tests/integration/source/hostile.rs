//! Keys that are made to do harm, and rows that no key can be made of.

use super::*;

#[test]
fn a_key_is_a_parameter_or_a_miss_and_never_sql() {
    let postgres = Postgres::start(&[]);
    postgres
        .execute("CREATE TABLE t (id text PRIMARY KEY, v text); CREATE TABLE n (id int PRIMARY KEY, v text)");
    let l4 = l4(
        &postgres,
        "",
        &[
            "match = 't:{id}'\nquery = 'SELECT v FROM t WHERE id = $1'\nwatch = 't'",
            "match = 'n:{id}'\nquery = 'SELECT v FROM n WHERE id = $1'\nwatch = 'n'",
        ],
    );
    migrated(&l4, &Migration::default());
    let mut running = Running::start(&l4);
    running.settle();
    let large = "x".repeat(60_000);
    let texts = [
        "'; DROP TABLE t; --",
        "\"",
        "\\",
        "\\'; DROP TABLE t; --",
        "$1",
        "{1,2}",
        "{",
        "}",
        "%s",
        "größe \u{1f980}",
        "\u{1}\u{7f}",
        "a\nb",
        " ",
        &large,
    ];
    let (runtime, client) = postgres.connect();
    for text in texts {
        let (t, n) = (format!("t:{text}"), format!("n:{text}"));
        assert_eq!((running.value(&t), running.value(&n)), (None, None), "{text:?}");
        runtime.block_on(client.execute("INSERT INTO t VALUES ($1, $1)", &[&text])).unwrap();
        running.until_told(&t);
        assert_eq!(running.value(&t).as_deref(), Some(text), "{text:?}");
    }
    for key in [&b"t:a\0b"[..], b"t:\xff\xfe", b"n:1\0", b"n:\xc0\x80", b"t:\xed\xa0\x80"] {
        let wanted = running.sources.matching(key).unwrap();
        assert_eq!(running.runtime.block_on(running.sources.load(&wanted)), Ok(None), "{key:?}");
    }
    let huge = vec![b'x'; 512 << 20];
    assert_eq!(running.sources.matching(&huge), None);
    // One whose key would be longer than any that matches is no change of a key.
    runtime.block_on(client.execute("INSERT INTO t VALUES ($1, '')", &[&"y".repeat(70_000)])).ok();
    assert_eq!(postgres.ask("SELECT count(*) FROM n").as_deref(), Some("0"));
}
