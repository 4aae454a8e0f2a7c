//! What clients say in conversations: templates as in [`super::templates`], by what they are about.
//!
//! Nothing here ends by itself: who waits is woken by another, or is told to give up.

/// Who talks. The letters say what about: `t` transactions, `s` subscriptions, `p` publishing.
///
/// Nobody has all three: Redis 7.0 puts what EXEC publishes to its own client into the midst of its reply, strata before it.
pub(super) const SPEAKERS: [(u8, &str); 6] =
    [(2, "tp"), (3, "tp"), (2, "sp"), (3, "sp"), (3, "ts"), (3, "s")];

/// Stand for the numbers that the two servers have given to the speakers.
pub(super) const CLIENTS: &[&str] = &["\0id 0", "\0id 1", "\0id 2", "\0id 3", "\0id 4", "\0id 5", "999999"];

/// Said by everybody.
pub(super) const DATA: &str = "\
w= SET $str $value
w= GET $str
w= MGET $str+
w= INCR $num
w= INCR $str
w= DEL $key
w= EXISTS $key+
w= RPUSH $list $value+
w= RPUSH $list $value
w= LPUSH $list $value
w= LPOP $list
w= LRANGE $list 0 -1
w= RPOPLPUSH $list $list
w= ZADD $zset $score $member
w= ZADD $zset $score $member $score $member
w= ZPOPMIN $zset
w= ZRANGE $zset 0 -1 WITHSCORES
w=! XADD $stream $next $field $value
w=! XADD $stream $next $field $value
w= XLEN $stream
w= XGROUP CREATE $stream $group 0 MKSTREAM
w= XGROUP DESTROY $stream $group
w= HSET $hash $field $value
w= RENAME $key $key
w= PING
w= NOSUCH $value
w= FLUSHDB
w= SELECT $bit
w= SELECT 0
w= SELECT 0
";

/// Said by everybody, but not in a transaction that goes out as a whole: what waits behind it might wait indeed.
pub(super) const RESET: &str = "w=! RESET\n";

/// Said by who has no transactions. Strata unblocks when EXEC's reply is here, and not in its midst.
pub(super) const UNBLOCKING: &str = "\
w=! CLIENT UNBLOCK $client
w=! CLIENT UNBLOCK $client ERROR
w=! CLIENT UNBLOCK $client TIMEOUT
w=! CLIENT UNBLOCK $client NONSENSE
";

/// What waits where there is nothing.
pub(super) const WAITS: &str = "\
w=! BLPOP $list $list 0
w=! BLPOP $list 0
w=! BLPOP $key 0
w=! BLPOP $list+ 1000.5
w=! BLPOP $list -1
w=! BLPOP $list x
w=! BLPOP $list
w=! BRPOP $list $list 0
w=! BRPOP $list 0
w=! BLMOVE $list $list LEFT RIGHT 0
w=! BLMOVE $list $list RIGHT LEFT 0
w=! BLMOVE $list $key RIGHT LEFT 0
w=! BLMOVE $list $list UP LEFT 0
w=! BRPOPLPUSH $list $list 0
w=! BRPOPLPUSH $list $key 0
w=! BLMPOP 0 2 $list $list LEFT
w=! BLMPOP 0 1 $list RIGHT COUNT 2
w=! BLMPOP 0 0 $list RIGHT
w=! BZPOPMIN $zset $zset 0
w=! BZPOPMAX $zset 0
w=! BZPOPMAX $key 0
w=! BZMPOP 0 2 $zset $zset MIN
w=! BZMPOP 0 1 $zset MAX COUNT 2
w=! XREAD BLOCK 0 STREAMS $stream $
w=! XREAD BLOCK 0 COUNT 1 STREAMS $stream $stream $ $
w=! XREAD BLOCK 0 STREAMS $stream $id
w=! XREAD BLOCK x STREAMS $stream $
w=! XREADGROUP GROUP $group $consumer BLOCK 0 STREAMS $stream >
w=! XREADGROUP GROUP $group $consumer BLOCK 0 STREAMS $stream 0
w=! WAIT 0 0
w=! WAIT x 0
";

/// `t`.
pub(super) const TRANSACTIONS: &str = "\
w= MULTI
w= MULTI
w= MULTI
w= MULTI
w= EXEC
w= EXEC
w= EXEC
w= EXEC
w= EXEC
w= EXEC
w= DISCARD
w= WATCH $key
w= WATCH $list $zset $str
w= WATCH $str
w= WATCH $num $num
w= WATCH
w= UNWATCH
w= GET
";

/// `s`.
pub(super) const SUBSCRIPTIONS: &str = "\
w= SUBSCRIBE $channel
w= SUBSCRIBE $channel+
w= SUBSCRIBE
w=! UNSUBSCRIBE $channel
w=! UNSUBSCRIBE $channel+
wn! UNSUBSCRIBE
w= PSUBSCRIBE $pattern
w= PSUBSCRIBE $pattern+
w=! PUNSUBSCRIBE $pattern
wn! PUNSUBSCRIBE
w= SSUBSCRIBE $channel
w= SSUBSCRIBE $channel+
w=! SUNSUBSCRIBE $channel
wn! SUNSUBSCRIBE
w= PING $value
";

/// `p`.
pub(super) const PUBLISHING: &str = "\
w= PUBLISH $channel $value
w= PUBLISH $channel $value
w= PUBLISH $channel $value
w= PUBLISH $channel
w= SPUBLISH $channel $value
w= SPUBLISH $channel $value
w= EVAL $publishing 0 $channel $value
w= EVAL $publishing 0 $channel $value
w= FCALL tell 0 $channel $value
";

/// Said by everybody.
pub(super) const SCRIPTS: &str = "\
w= EVAL $script 1 $str $value
w= EVAL $pushing 2 $list $list $value
w= EVAL $pushing 2 $list $list $value
w= EVAL $result 0
w= EVALSHA $sha 0
w= SCRIPT LOAD $result
w= SCRIPT EXISTS $sha
w= SCRIPT FLUSH
w=! FUNCTION LOAD REPLACE $talking
w=! FUNCTION LOAD REPLACE $talking
w= FUNCTION DELETE talk
w= FCALL put 1 $list $value
w= FCALL put 1 $list $value
w= FCALL_RO put 1 $list $value
";

/// What is known of subscribers, whoever asks.
pub(super) const COUNTS: &str = "\
w= PUBSUB NUMSUB $channel+
w= PUBSUB NUMPAT
w= PUBSUB SHARDNUMSUB $channel
wu PUBSUB CHANNELS
wu PUBSUB CHANNELS $pattern
wu PUBSUB SHARDCHANNELS
";

/// Stand for a script that takes two lists and a value, and wakes who waits for them.
pub(super) const PUSHING_SCRIPTS: &[&str] = &[
    "return redis.call('RPUSH', KEYS[1], ARGV[1])",
    "redis.call('RPUSH', KEYS[2], ARGV[1], 'two') return redis.call('LPUSH', KEYS[1], ARGV[1])",
    "return redis.call('BLPOP', KEYS[1], 0)",
    "redis.call('RPUSH', KEYS[1], ARGV[1]) return redis.call('BLMOVE', KEYS[1], KEYS[2], 'LEFT', 'LEFT', 0)",
    "redis.call('RPUSH', KEYS[1], ARGV[1]) error('after a write')",
];

/// Stand for a script that takes a channel and a message. None of them tells how many have heard: of all clients of strata
/// scripts know one a topic.
pub(super) const PUBLISHING_SCRIPTS: &[&str] = &[
    "redis.call('PUBLISH', ARGV[1], ARGV[2]) return 'told'",
    "redis.call('PUBLISH', ARGV[1], 'first') return redis.call('PUBLISH', ARGV[1], ARGV[2]) > 0",
    "redis.call('PUBLISH', ARGV[1], ARGV[2]) return redis.call('NOSUCH')",
];

pub(super) const LIBRARY: &str = "#!lua name=talk
redis.register_function('put', function(keys, args) return redis.call('RPUSH', keys[1], args[1]) end)
redis.register_function('tell', function(keys, args) return redis.call('PUBLISH', args[1], args[2]) > 0 end)
";
