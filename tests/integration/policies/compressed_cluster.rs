//! Values that the nodes of a cluster keep compressed, and commands that work inside them.

use std::process::Command;
use std::thread;
use std::time::Duration;

use super::{bulk, call, ok};
use crate::support::{Client, Cluster, RedisServer, Shape, Strata, Value, slot_of, wait_until};

const ON: &str = "[l3]\ncompression_min_size = \"100B\"\n[[policy]]\nmatch = \"z:*\"\ncompress = true\n";
const MARK: &[u8] = b"\xffsz";
/// For what has to happen, however loaded the machine is.
const LONG: Duration = Duration::from_secs(120);

fn scene() -> (Cluster, Strata) {
    let cluster = Cluster::start_as(Shape { replicas: 0, ..Shape::default() });
    let own = cluster.settings();
    let mut all: Vec<(&str, &str)> = own.iter().map(|(name, value)| (&**name, &**value)).collect();
    all.extend([("l2.enabled", "false"), ("l3.request_timeout", "120s")]);
    let strata = Strata::start_with("embedded", ON, &all);
    (cluster, strata)
}

fn text(n: usize) -> String {
    "{\"name\":\"strata\"},".repeat(n / 17 + 1)[..n].to_owned()
}

fn is_packed(cluster: &Cluster, key: &str) -> bool {
    let stored = cluster.connect_to(key).call(&["GET", key]).expect("home answers");
    stored.bytes().is_some_and(|stored| stored.starts_with(MARK))
}

fn set(client: &mut Client, key: &str, value: &str) {
    assert_eq!(client.call(&["SET", key, value]).expect("answered"), ok());
}

/// A key that compresses, of this node.
fn key_of(cluster: &Cluster, node: usize) -> String {
    cluster.key_of_node(node, "z:")
}

#[test]
fn commands_that_work_inside_do_what_they_do_on_a_bare_server_at_every_node() {
    let (cluster, strata) = scene();
    let bare = RedisServer::start(&[]);
    let (mut client, mut bare) = (strata.connect(), bare.connect());
    client.set_patience(LONG);
    for node in 0..3 {
        let key = key_of(&cluster, node);
        // All in one slot; the last two are kept plain.
        let names: [String; 4] =
            [key.clone(), format!("z:{{{key}}}"), format!("{{{key}}}"), format!("{{{key}}}p")];
        let [key, other, plain, more] = names.each_ref();
        for value in [text(1_000), text(2_000)] {
            for (client, expected) in [(&mut client, true), (&mut bare, false)] {
                set(client, key, &value);
                assert!(!expected || is_packed(&cluster, key));
            }
            let commands = [
                format!("APPEND {key} tail"),
                format!("GETRANGE {key} 990 1010"),
                format!("SETRANGE {key} 5 xyz"),
                format!("BITCOUNT {key}"),
                format!("GETBIT {key} 77"),
                format!("SETBIT {key} 77 1"),
                format!("STRLEN {key}"),
                format!("BITOP NOT {other} {key}"),
                format!("BITOP AND {plain} {key} {other}"),
                format!("RENAME {key} {more}"),
                format!("COPY {more} {key}"),
                format!("EVAL return(redis.call('APPEND',KEYS[1],'x')) 1 {key}"),
                format!("BITFIELD {key} GET u8 0 SET u8 8 65"),
                format!("GET {key}"),
                format!("GET {plain}"),
                format!("MGET {key} {other} {plain} {more}"),
            ];
            for command in commands {
                assert_eq!(call(&mut client, &command), call(&mut bare, &command), "{command}");
            }
            for command in
                ["MULTI".to_owned(), format!("APPEND {key} y"), format!("GET {key}"), "EXEC".to_owned()]
            {
                assert_eq!(call(&mut client, &command), call(&mut bare, &command), "{command}");
            }
        }
    }
    let (one, two) = (key_of(&cluster, 0), key_of(&cluster, 1));
    let crossed = call(&mut client, &format!("BITOP AND {one} {one} {two}"));
    assert_eq!(crossed, Value::Error("CROSSSLOT Keys in request don't hash to the same slot".into()));
}

#[test]
fn they_follow_keys_that_have_moved_and_wait_for_those_that_move() {
    let (cluster, strata) = scene();
    let mut client = strata.connect();
    client.set_patience(LONG);
    let key = key_of(&cluster, 0);
    let slot = slot_of(key.as_bytes());
    set(&mut client, &key, &text(1_000));
    cluster.move_slot(slot, 1);
    assert_eq!(call(&mut client, &format!("APPEND {key} 1")), Value::Integer(1_001));
    set(&mut client, &key, &text(1_000));
    assert!(is_packed(&cluster, &key));
    cluster.begin_move(slot, 2);
    assert_eq!(cluster.move_keys(slot, 2, 10), 1);
    let (append, transaction) = thread::scope(|scope| {
        let append = scope.spawn(|| {
            let mut client = strata.connect();
            client.set_patience(LONG);
            call(&mut client, &format!("APPEND {key} 2"))
        });
        let transaction = scope.spawn(|| {
            let mut client = strata.connect();
            client.set_patience(LONG);
            assert_eq!(call(&mut client, "MULTI"), ok());
            assert_eq!(call(&mut client, &format!("APPEND {key} 3")), Value::Simple("QUEUED".into()));
            call(&mut client, "EXEC")
        });
        // Both have been sent where the key is not.
        let sent = wait_until(LONG, || {
            cluster.node(1).server.info("errorstats").keys().any(|e| e == "errorstat_ASK")
        });
        assert!(sent, "nobody was told to ask elsewhere");
        cluster.end_move(slot, 2);
        (append.join().expect("it ends"), transaction.join().expect("it ends"))
    });
    let Value::Array(transaction) = transaction else { panic!("{transaction:?}") };
    let mut lengths = [append.integer(), transaction[0].integer()];
    lengths.sort_unstable();
    assert_eq!(lengths, [Some(1_001), Some(1_002)]);
    assert_eq!(call(&mut client, &format!("STRLEN {key}")), Value::Integer(1_002));
}

#[test]
fn what_is_watched_and_moves_counts_as_changed() {
    let (cluster, strata) = scene();
    let mut client = strata.connect();
    client.set_patience(LONG);
    let key = key_of(&cluster, 0);
    set(&mut client, &key, &text(1_000));
    for (moves, expected) in [(false, Some(Value::Integer(1_001))), (true, None)] {
        assert_eq!(call(&mut client, &format!("WATCH {key}")), ok());
        assert_eq!(call(&mut client, "MULTI"), ok());
        assert_eq!(call(&mut client, &format!("APPEND {key} x")), Value::Simple("QUEUED".into()));
        if moves {
            cluster.move_slot(slot_of(key.as_bytes()), 1);
        }
        let reply = call(&mut client, "EXEC");
        assert_eq!(reply.elements().and_then(|all| all.first().cloned()), expected, "{reply:?}");
    }
    assert_eq!(call(&mut client, &format!("GET {key}")), bulk(text(1_000) + "x"));
}

#[test]
fn a_dictionary_is_made_of_what_all_nodes_have() {
    let (cluster, strata) = scene();
    let mut client = strata.connect();
    for n in 0..600 {
        set(
            &mut client,
            &format!("z:{n}"),
            &format!("{{\"user\":{n},\"city\":\"Bern\",\"street\":\"number {}\"}}", n * 7),
        );
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let out = directory.path().join("z.dict");
    let mut command = Command::new(env!("CARGO_BIN_EXE_strata"));
    command.args(["train-dictionary", "--match", "z:*", "--out", &out.display().to_string()]);
    for (name, value) in cluster.settings() {
        command.args(["--set", &format!("{name}={value}")]);
    }
    let output = command.current_dir(directory.path()).output().expect("it runs");
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("trained on 480 values") && said.contains("tried on 120 others"), "{said}");
    assert!(std::fs::metadata(&out).expect("there is a dictionary").len() > 0);
}
