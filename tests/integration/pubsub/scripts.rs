//! The same conversations with strata and with a bare redis-server, compared byte for byte.

use super::{LONG, pair};
use crate::support::{Client, Endpoint, RedisServer, is_redis_7_0, skip};

/// Who, what it sends (nothing: it only reads), and how many replies and messages it reads then.
type Line = (usize, &'static str, usize);

/// Speaks the lines on connections of their own, one a number, and returns all that was read.
fn play(endpoint: &Endpoint, protocol: u8, lines: &[Line]) -> Vec<String> {
    let count = lines.iter().map(|(who, ..)| who + 1).max().unwrap();
    let mut clients: Vec<Client> = (0..count).map(|_| Client::connect(endpoint).unwrap()).collect();
    for client in &mut clients {
        client.set_patience(LONG);
        client.hello(protocol).unwrap();
    }
    let mut heard = Vec::new();
    for (who, command, replies) in lines {
        if !command.is_empty() {
            clients[*who].send_raw(format!("{command}\r\n").as_bytes()).unwrap();
        }
        for _ in 0..*replies {
            let reply = clients[*who].read_raw();
            let reply =
                reply.unwrap_or_else(|e| panic!("{command} of {who} ({protocol}): {e} after {heard:?}"));
            heard.push(format!("{who} {command}: {}", reply.escape_ascii()));
        }
    }
    // Nothing else has come.
    for (who, client) in clients.iter_mut().enumerate() {
        if client.send_raw(b"RESET\r\n").is_ok()
            && let Ok(reply) = client.read_raw()
        {
            heard.push(format!("{who} at last: {}", reply.escape_ascii()));
        }
    }
    heard
}

fn same(lines: &[Line]) {
    for protocol in [2, 3] {
        same_in(protocol, lines);
    }
}

fn same_in(protocol: u8, lines: &[Line]) {
    let (_home, strata) = pair(&[("server.admin_commands", "pass")]);
    let bare = RedisServer::start(&[]);
    let expected = play(&bare.tcp(), protocol, lines);
    assert_eq!(play(&strata.endpoint(), protocol, lines), expected, "RESP{protocol}");
}

#[test]
fn confirmations_count_and_unsubscribing_from_nothing_is_confirmed_with_null() {
    same(&[
        (0, "SUBSCRIBE a b a", 3),
        (0, "PSUBSCRIBE a* b*", 2),
        (0, "SSUBSCRIBE a", 1),
        (0, "UNSUBSCRIBE nothing a a", 3),
        (0, "UNSUBSCRIBE", 1),
        (0, "UNSUBSCRIBE", 1),
        (0, "PUNSUBSCRIBE b* x", 2),
        (0, "PUNSUBSCRIBE", 1),
        (0, "PUNSUBSCRIBE", 1),
        (0, "SUNSUBSCRIBE b", 1),
        (0, "SUNSUBSCRIBE", 1),
        (0, "SUNSUBSCRIBE", 1),
        (0, "SUNSUBSCRIBE a", 1),
        (0, "GET k", 1),
        (0, "SUBSCRIBE", 1),
        (0, "PUBLISH a", 1),
    ]);
}

#[test]
fn messages_reach_channels_patterns_and_shards_and_are_counted() {
    same(&[
        (0, "SUBSCRIBE news news", 2),
        (1, "SUBSCRIBE news", 1),
        (1, "PSUBSCRIBE n*", 1),
        (2, "SSUBSCRIBE news", 1),
        (3, "PUBLISH news one", 1),
        (0, "", 1),
        (1, "", 2),
        (3, "SPUBLISH news two", 1),
        (2, "", 1),
        (3, "PUBLISH nothing x", 1),
        (1, "", 1),
        (3, "PUBLISH other x", 1),
        (3, "PUBSUB NUMSUB news nothing", 1),
        (3, "PUBSUB NUMSUB", 1),
        (3, "PUBSUB CHANNELS", 1),
        (3, "PUBSUB CHANNELS x*", 1),
        (3, "PUBSUB NUMPAT", 1),
        (3, "PUBSUB SHARDCHANNELS", 1),
        (3, "PUBSUB SHARDNUMSUB news a", 1),
        (3, "PUBSUB CHANNELS a b", 1),
        (3, "PUBSUB NUMPAT x", 1),
        (3, "PUBSUB NONSENSE", 1),
        (3, "PUBSUB", 1),
        (0, "UNSUBSCRIBE news", 1),
        (3, "PUBLISH news three", 1),
        (3, "PUBSUB NUMSUB news", 1),
        (1, "", 2),
    ]);
}

#[test]
fn a_subscriber_of_resp2_may_do_nothing_else() {
    same_in(
        2,
        &[
            (0, "SUBSCRIBE a", 1),
            (0, "PING", 1),
            (0, "PING text", 1),
            (0, "PING a b", 1),
            (0, "GET k", 1),
            (0, "GET", 1),
            (0, "NONSENSE", 1),
            (0, "CLIENT ID", 1),
            (0, "HELLO 3", 1),
            (0, "PUBLISH a x", 1),
            (0, "MULTI", 1),
            (0, "SSUBSCRIBE b", 1),
            (0, "UNSUBSCRIBE", 1),
            (0, "PING", 1),
            (0, "SUNSUBSCRIBE", 1),
            (0, "PING", 1),
            (0, "GET k", 1),
            (0, "PSUBSCRIBE b", 1),
            (0, "RESET", 1),
            (0, "PING", 1),
            (0, "SUBSCRIBE c", 1),
            (0, "QUIT", 1),
        ],
    );
}

#[test]
fn a_subscriber_of_resp3_goes_on_and_hears_its_own_message_before_the_reply() {
    if !is_redis_7_0() {
        return skip("the order of a message to oneself and its reply");
    }
    same_in(
        3,
        &[
            (0, "SUBSCRIBE a", 1),
            (0, "PSUBSCRIBE a*", 1),
            (0, "SET k v", 1),
            (0, "GET k", 1),
            (0, "PING", 1),
            (0, "PUBLISH a own", 3),
            (0, "GET k", 1),
            (1, "PUBLISH a x\r\nPUBLISH a y\r\nPUBLISH ab z\r\nGET k", 4),
            (0, "", 5),
            (0, "SSUBSCRIBE s", 1),
            (0, "SPUBLISH s x", 2),
            (0, "RESET", 1),
            (0, "PING", 1),
            (1, "PUBLISH a nobody", 1),
        ],
    );
}

#[test]
fn a_protocol_changed_by_a_subscriber_changes_its_messages() {
    // The reply to HELLO has the client's number in it.
    let lines: &[Line] =
        &[(0, "SUBSCRIBE a", 1), (0, "HELLO 2", 1), (1, "PUBLISH a x", 1), (0, "", 1), (0, "GET k", 1)];
    let (_home, strata) = pair(&[]);
    let bare = RedisServer::start(&[]);
    let mut expected = play(&bare.tcp(), 3, lines);
    let mut got = play(&strata.endpoint(), 3, lines);
    assert!(expected.remove(1).contains("HELLO") && got.remove(1).contains("HELLO"));
    assert_eq!(got, expected);
}

#[test]
fn client_reply_silences_neither_confirmations_nor_messages() {
    same(&[
        (0, "CLIENT REPLY SKIP\r\nSUBSCRIBE b\r\nUNSUBSCRIBE b", 2),
        (0, "CLIENT REPLY OFF\r\nSUBSCRIBE a", 1),
        (1, "PUBLISH a x", 1),
        (0, "", 1),
        (0, "UNSUBSCRIBE a", 1),
        (0, "GET k\r\nCLIENT REPLY ON", 1),
        (0, "GET k", 1),
    ]);
}

#[test]
fn pipelined_commands_see_the_subscriptions_before_them() {
    if !is_redis_7_0() {
        return skip("the order of a message to oneself and its reply");
    }
    same_in(
        3,
        &[
            (0, "GET k\r\nSUBSCRIBE a\r\nPUBLISH a 1\r\nUNSUBSCRIBE a\r\nPUBLISH a 2\r\nGET k", 7),
            (0, "PUBLISH b 1\r\nSUBSCRIBE b\r\nSUBSCRIBE b c\r\nPUBLISH c 2\r\nPUBSUB NUMSUB b", 7),
        ],
    );
    same_in(2, &[(0, "SUBSCRIBE a\r\nGET k\r\nUNSUBSCRIBE\r\nGET k\r\nSUBSCRIBE b\r\nRESET\r\nGET k", 7)]);
}

#[test]
fn notifications_of_keys_come_through() {
    let lines: &[Line] = &[
        (1, "CONFIG SET notify-keyspace-events KEA", 1),
        (0, "PSUBSCRIBE __key*__:*", 1),
        (1, "SET k v", 1),
        (0, "", 2),
        (1, "DEL k", 1),
        (0, "", 2),
        (0, "PUNSUBSCRIBE", 1),
    ];
    same(lines);
}

#[test]
fn publishing_works_inside_a_script() {
    same(&[
        (0, "SUBSCRIBE a", 1),
        (1, "EVAL \"return redis.call('PUBLISH','a','from a script')\" 0", 1),
        (0, "", 1),
    ]);
}

#[test]
fn binary_names_and_messages_are_taken_as_they_are() {
    same(&[
        (0, "SUBSCRIBE \"\\x00\\xff\\r\\n\" \"\"", 2),
        (1, "PUBLISH \"\\x00\\xff\\r\\n\" \"\\r\\n*1\\r\\n\"", 1),
        (0, "", 1),
        (1, "PUBLISH \"\" \"\"", 1),
        (0, "", 1),
        (0, "UNSUBSCRIBE \"\" \"\\x00\\xff\\r\\n\"", 2),
    ]);
}

#[test]
fn transactions_may_publish_and_subscribe() {
    same(&[
        (1, "SUBSCRIBE a", 1),
        (0, "MULTI\r\nPUBLISH a x\r\nSET k v\r\nEXEC", 4),
        (1, "", 1),
        (0, "MULTI\r\nPING\r\nSUBSCRIBE b\r\nPING\r\nUNSUBSCRIBE b\r\nSUBSCRIBE c\r\nEXEC", 7),
        (1, "UNSUBSCRIBE", 1),
        (1, "PUBLISH c y", 1),
        (0, "", 1),
        (1, "PUBLISH b y", 1),
        (0, "UNSUBSCRIBE", 1),
        (0, "GET k", 1),
    ]);
}

#[test]
fn a_subscriber_whose_user_may_not_is_refused() {
    if !is_redis_7_0() {
        return skip("the words about channels");
    }
    same(&[
        (0, "ACL SETUSER u on nopass ~* +@all resetchannels &a", 1),
        (0, "AUTH u x", 1),
        (0, "SUBSCRIBE a b", 1),
        (0, "PSUBSCRIBE a", 1),
        (0, "SUBSCRIBE a", 1),
        (0, "SUBSCRIBE b", 1),
        (1, "PUBLISH a x", 1),
        (0, "", 1),
    ]);
}
