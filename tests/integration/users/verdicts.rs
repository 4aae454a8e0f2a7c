//! What restricted users are answered.

use super::{Stage, ok};
use crate::support::{is_redis_7_0, skip};

const USERS: &[(&str, &str)] = &[
    ("app", "on >pw ~app:* %R~shared:* %W~log:* &news:* +@all -@dangerous +sort"),
    ("reader", "on nopass ~* +@read +select|0 +client|id"),
    (
        "pairs",
        "on #30c952fab122c3f9759f02a6d95c3758b246b4fee239957b2d4fee46e26170c4 (~a:* +get) (~b:* +set +publish &b)",
    ),
    ("all", "on nopass ~* &* +@all"),
    ("nobody", "off nopass ~* +@all"),
    ("bare", "on nopass"),
];

/// One of everything that keys and channels are named in, and what is refused for other reasons first.
const REQUESTS: &[&str] = &[
    "GET app:1",
    "GET other",
    "GET shared:1",
    "GET log:1",
    "GET",
    "GET a b",
    "NOSUCH",
    "CONFIG",
    "CONFIG NOSUCH",
    "SET app:1 v",
    "SET shared:1 v",
    "SET log:1 v",
    "SET log:1 v GET",
    "SETEX other 1 v",
    "APPEND log:1 x",
    "MGET app:1 shared:1",
    "MGET app:1 log:1 other",
    "MSET app:1 1 log:1 2",
    "MSET app:1 1 shared:1 2",
    "COPY shared:1 log:2",
    "COPY log:1 log:2",
    "RENAME app:9 other",
    "DEL app:1 other",
    "DEL log:1",
    "UNLINK shared:1",
    "EXISTS app:1",
    "EXISTS log:1",
    "TYPE other",
    "TTL app:1",
    "EXPIRE log:1 100",
    "OBJECT ENCODING app:1",
    "HGET app:h f",
    "HSET other f v",
    "LPUSH log:l a",
    "LRANGE log:l 0 -1",
    "LMOVE app:l log:l LEFT RIGHT",
    "SADD app:s a",
    "SINTER app:s shared:s",
    "SINTERSTORE log:s app:s",
    "SINTERSTORE shared:s app:s",
    "ZADD app:z 1 a",
    "ZUNION 2 app:z other",
    "ZUNIONSTORE log:z 2 app:z shared:z",
    "ZRANGESTORE shared:z app:z 0 -1",
    "ZDIFF 1 log:z",
    "SORT app:l",
    "SORT app:l BY w_* GET #",
    "SORT app:l GET #",
    "SORT app:l STORE shared:l",
    "SORT app:l BY nosort",
    "SORT app:l NOSUCH GET x",
    "SORT app:l LIMIT x y GET z",
    "SORT app:l DESC GET z",
    "BITFIELD shared:b GET u8 0",
    "BITFIELD shared:b SET u8 0 1",
    "BITFIELD app:b SET u8 0 1",
    "SETBIT log:b 1 1",
    "XADD app:x 1-1 f v",
    "XLEN app:x",
    "XREAD COUNT 1 STREAMS app:x other 0 0",
    "XRANGE log:x - +",
    "GEOADD app:g 1 1 m",
    "GEORADIUS app:g 1 1 1 km STORE shared:g",
    "GEOSEARCH app:g FROMMEMBER m BYRADIUS 1 km",
    "PFADD log:p a",
    "PFCOUNT app:p",
    "PFCOUNT shared:p",
    "DUMP app:1",
    "RESTORE app:2 0 x",
    "KEYS none",
    "FLUSHALL",
    "DBSIZE",
    "INFO server",
    "CONFIG GET maxmemory",
    "PUBLISH news:1 m",
    "PUBLISH other m",
    "SPUBLISH news:1 m",
    "PUBLISH b m",
    "CLIENT GETNAME",
    "CLIENT SETNAME me",
    "CLIENT LIST",
    "ACL WHOAMI",
    "ACL USERS",
    "ACL LIST",
    "SELECT 0",
    "SELECT 1",
    "ECHO x",
    "PING",
    "COMMAND COUNT",
    "SWAPDB 0 1",
    "LATENCY LATEST",
    "MEMORY USAGE app:1",
    "MEMORY USAGE other",
    "TOUCH app:1 other",
    "EVAL return 1",
    "MOVE app:1 1",
    "BLPOP other 0",
    "SUBSCRIBE other",
];

fn logins() -> Vec<Vec<String>> {
    let auth = |user: &str, password: &str| format!("AUTH {user} {password}");
    let mut ways: Vec<Vec<String>> = vec![vec![]];
    for (user, password) in [("app", "pw"), ("reader", "any"), ("pairs", "pw"), ("all", "x"), ("bare", "x")] {
        ways.push(vec![auth(user, password)]);
        ways.push(vec![format!("HELLO 3 AUTH {user} {password}"), "ACL WHOAMI".to_owned()]);
    }
    for (user, password) in
        [("app", "PW"), ("nobody", "x"), ("pairs", ""), ("unknown", "x"), ("default", "x")]
    {
        ways.push(vec![auth(user, password)]);
    }
    ways
}

/// What names a version or the connection differs by itself.
fn is_told_apart(command: &str) -> bool {
    command.starts_with("HELLO")
}

#[test]
fn restricted_users_are_answered_byte_for_byte() {
    if !is_redis_7_0() {
        return skip("the words about users");
    }
    let stage = Stage::new(USERS, &[]);
    for login in logins() {
        let restricted = ["app pw", "reader any", "pairs pw", "bare x"];
        let restricted = login.first().is_some_and(|first| restricted.iter().any(|who| first.ends_with(who)));
        let mut commands: Vec<&str> = login.iter().map(String::as_str).collect();
        // Of who may do everything only that it is so: the rest is told by other tests.
        let rest = if !restricted { &["GET app:1", "ACL WHOAMI", "PUBLISH other m"][..] } else { REQUESTS };
        commands.extend(rest);
        let [bare, strata] = stage.replies(&commands);
        for ((command, bare), strata) in commands.iter().zip(bare).zip(strata) {
            if !is_told_apart(command) && !bare.contains("id=") && !command.starts_with("INFO") {
                assert_eq!(strata, bare, "{command} of {login:?}");
            }
        }
    }
}

#[test]
fn who_must_authenticate_is_told_so_in_redis_words() {
    if !is_redis_7_0() {
        return skip("the words about users");
    }
    let users = &[("app", "on >pw ~* &* +@all"), ("default", "off")];
    let stage = Stage::new(users, &[]);
    let strangers =
        ["GET k", "GET", "NOSUCH x", "PING", "AUTH x", "AUTH app x", "AUTH a b c", "HELLO 3", "GET k"];
    stage.same(&strangers);
    stage.same(&["AUTH app pw", "GET k", "ACL WHOAMI", "RESET", "GET k", "AUTH app pw", "GET k", "QUIT"]);
    stage.same(&["AUTH app pw", "AUTH app wrong", "ACL WHOAMI", "AUTH default x", "GET k"]);
    let users = &[("default", "on >pw ~* &* +@all -keys")];
    let stage = Stage::new(users, &[]);
    stage.same(&["KEYS *", "AUTH pw", "KEYS *", "GET k", "AUTH pw2", "AUTH default pw", "ACL WHOAMI"]);
}

#[test]
fn what_was_denied_is_logged_as_redis_logs_it() {
    if !is_redis_7_0() {
        return skip("the words about users");
    }
    let stage = Stage::new(USERS, &[]);
    let denied = [
        "AUTH app wrong",
        "auth app pw",
        "GET other",
        "GET other",
        "SET shared:1 v",
        "KEYS none",
        "keys x",
        "PUBLISH other m",
        "Hello 2 AUTH nobody x",
        "CONFIG SET a b",
        "SORT app:l BY x*",
    ];
    stage.same(&denied);
    let log = |endpoint| {
        let mut client = crate::support::Client::connect(&endpoint).unwrap();
        let reply = super::call(&mut client, "ACL LOG 100");
        let entries = reply.elements().unwrap();
        let said: Vec<_> = entries.iter().map(|entry| entry.elements().unwrap()[..10].to_vec()).collect();
        let names: Vec<_> =
            entries.iter().map(|e| e.elements().unwrap().into_iter().step_by(2).collect()).collect();
        let _: &Vec<Vec<crate::support::Value>> = &names;
        (said, names)
    };
    assert_eq!(log(stage.strata.endpoint()), log(stage.bare.tcp()));
    stage.same(&["ACL LOG 0", "ACL LOG x", "ACL LOG -1", "ACL LOG 1 2", "ACL LOG RESET x"]);
    let passing = Stage::new(&[], &[("server.admin_commands", "pass")]);
    passing.same(&["AUTH a b", "ACL LOG RESET", "ACL LOG"]);
}

#[test]
fn scripts_act_with_stratas_rights_so_restricted_users_need_to_be_trusted() {
    if !is_redis_7_0() {
        return skip("the words about users");
    }
    let users = &[("app", "on nopass ~app:* +@all"), ("all", "on nopass ~* &* +@all -multi")];
    let stage = Stage::new(users, &[]);
    let mut client = stage.strata.connect();
    for command in ["EVAL return{} 0", "EVALSHA x 0", "EVAL_RO return{} 0", "FCALL f 0", "FCALL_RO f 0"] {
        client.call(&["AUTH", "app", "x"]).unwrap();
        let text = super::raw(&mut client, command);
        assert!(text.starts_with("-NOPERM strata: ") && text.contains("server.trust_scripts"), "{text}");
        client.call(&["AUTH", "all", "x"]).unwrap();
        let text = super::raw(&mut client, command);
        assert!(!text.contains("NOPERM"), "{text}");
    }
    let stage = Stage::new(users, &[("server.trust_scripts", "true")]);
    let mut client = stage.strata.connect();
    assert_eq!(client.call(&["AUTH", "app", "x"]).unwrap(), ok());
    stage.same(&["AUTH app x", "EVAL return{1} 1 app:1", "EVAL return{1} 1 other", "EVAL_RO return{2} 0"]);
}
