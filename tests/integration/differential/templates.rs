//! What the differential test sends: a template a line, all equally likely.
//!
//! A line is `r` (a read, sent to the target twice) or `w`, the letter of its comparison rule, `!` if the command must not be
//! distorted at random, and the command's words. `$name` stands for a random word of that kind and `$name+` for one to three
//! (see `generate`). Longer than a file should be because it is a table.
//!
//! Left out are commands whose effect two servers can't agree on (SPOP of some of many members, XADD with `*`, short
//! TTLs) and those that need a connection of their own (MULTI, WATCH, SUBSCRIBE, MONITOR, blocking).

pub(super) const TEMPLATES: &[&str] =
    &[STRINGS, BITS, HASHES, LISTS, SETS, ZSETS, STREAMS, GEO, KEYS, SCRIPTS, OTHERS];

const STRINGS: &str = "\
r= GET $str
r= GET $num
r= GET $key
r= MGET $str+ $num
r= MGET $key+
r= STRLEN $str
r= GETRANGE $str $index $index
r= SUBSTR $str $index $index
r= LCS $str $str
r= LCS $str $str LEN
r= LCS $str $str IDX MINMATCHLEN 2 WITHMATCHLEN
w= SET $str $value
w= SET $str $value
w= SET $num $int
w= SET $num $float
w= SET $str $value EX $ttl
w= SET $str $value PX $ttl NX
w= SET $str $value XX GET
w= SET $str $value KEEPTTL
w= SET $str $value EXAT $future
w= SET $str $value NX XX
w= SET $str $value EX 0
w= SETNX $str $value
w= SETEX $str $ttl $value
w= SETEX $str 0 $value
w= PSETEX $str $ttl $value
w= GETSET $str $value
w= GETDEL $str
w= GETEX $str
w= GETEX $str EX $ttl
w= GETEX $str PERSIST
w= APPEND $str $value
w= SETRANGE $str $offset $value
w= INCR $num
w= DECR $num
w= INCRBY $num $int
w= DECRBY $num $int
w= INCRBYFLOAT $num $float
w= INCR $str
w= MSET $str $value $num $int
w= MSETNX $str $value $num $int
w= MSET $str $value $num
";

const BITS: &str = "\
r= GETBIT $bits $offset
r= BITCOUNT $bits
r= BITCOUNT $bits $index $index
r= BITCOUNT $bits $index $index BIT
r= BITPOS $bits $bit
r= BITPOS $bits $bit $index $index BYTE
r= BITFIELD_RO $bits GET u8 $offset GET i5 #1
r= BITFIELD_RO $bits SET u8 0 1
r= GET $bits
w= SETBIT $bits $offset $bit
w= SETBIT $bits $offset $bit
w= SETBIT $bits $offset 2
w= BITOP AND $bits $bits $str
w= BITOP XOR $bits $bits $bits
w= BITOP NOT $bits $bits
w= BITFIELD $bits GET u4 $offset
w= BITFIELD $bits SET i8 $offset $int INCRBY u2 $offset 3
w= BITFIELD $bits OVERFLOW FAIL INCRBY u3 $offset $int GET u63 0
w= BITFIELD $bits OVERFLOW SAT INCRBY i7 #2 $int
r= PFCOUNT $hll
r= PFCOUNT $hll $hll
w= PFADD $hll $member+
w= PFADD $hll
w= PFMERGE $hll $hll
w= PFADD $str $member
";

const HASHES: &str = "\
r= HGET $hash $field
r= HGET $hash $field
r= HMGET $hash $field+
rh HGETALL $hash
rh HGETALL $hash
ru HKEYS $hash
ru HVALS $hash
r= HLEN $hash
r= HEXISTS $hash $field
r= HSTRLEN $hash $field
rc! HSCAN $hash 0 COUNT 1000
rc! HSCAN $hash 0 MATCH f[0-3] COUNT 1000
r?! HRANDFIELD $hash
r?! HRANDFIELD $hash $count
r?! HRANDFIELD $hash $count WITHVALUES
w= HSET $hash $field $value
w= HSET $hash $field $value $field $value $field $int
w= HSET $hash $field $value $field
w= HMSET $hash $field $value
w= HSETNX $hash $field $value
w= HDEL $hash $field+
w= HINCRBY $hash $field $int
w= HINCRBYFLOAT $hash $field $float
";

const LISTS: &str = "\
r= LRANGE $list $index $index
r= LRANGE $list 0 -1
r= LLEN $list
r= LINDEX $list $index
r= LPOS $list $value
r= LPOS $list $int RANK -1 COUNT $count MAXLEN 10
w= LPUSH $list $value+
w= RPUSH $list $value+
w= RPUSH $list $int
w= LPUSHX $list $value
w= RPUSHX $list $value
w= LPOP $list
w= RPOP $list $count
w= LSET $list $index $value
w= LINSERT $list BEFORE $value $value
w= LINSERT $list AFTER $int $value
w= LREM $list $index $value
w= LTRIM $list $index $index
w= LMOVE $list $list LEFT RIGHT
w= RPOPLPUSH $list $list
w= LMPOP 2 $list $list LEFT COUNT 2
w= LMPOP 0 $list LEFT
";

const SETS: &str = "\
ru SMEMBERS $set
ru SMEMBERS $set
r= SCARD $set
r= SISMEMBER $set $member
r= SMISMEMBER $set $member+
ru SINTER $set $set
ru SUNION $set $set
ru SDIFF $set $set
r= SINTERCARD 2 $set $set
r= SINTERCARD 2 $set $set LIMIT $count
rc! SSCAN $set 0 COUNT 1000
r?! SRANDMEMBER $set
r?! SRANDMEMBER $set $count
w= SADD $set $member+
w= SADD $set $member+
w= SADD $set $int
w= SREM $set $member+
w= SMOVE $set $set $member
w= SINTERSTORE $set $set $set
w= SUNIONSTORE $set $set $set
w= SDIFFSTORE $set $set $set
wu! SPOP $set 1000
w=! SPOP $set 0
w=! SPOP $set -1
";

const ZSETS: &str = "\
r= ZRANGE $zset 0 -1
r= ZRANGE $zset $index $index WITHSCORES
r= ZRANGE $zset $limit $limit BYSCORE
r= ZRANGE $zset $limit $limit BYSCORE REV LIMIT 0 $count WITHSCORES
r= ZRANGE $zset $lex $lex BYLEX
r= ZRANGEBYSCORE $zset $limit $limit WITHSCORES LIMIT $count $index
r= ZRANGEBYLEX $zset $lex $lex
r= ZREVRANGE $zset $index $index WITHSCORES
r= ZREVRANGEBYSCORE $zset $limit $limit
r= ZREVRANGEBYLEX $zset $lex $lex
r= ZCARD $zset
r= ZCOUNT $zset $limit $limit
r= ZLEXCOUNT $zset $lex $lex
r= ZSCORE $zset $member
r= ZMSCORE $zset $member+
r= ZRANK $zset $member
r= ZREVRANK $zset $member
r= ZUNION 2 $zset $zset WITHSCORES
r= ZINTER 2 $zset $zset WEIGHTS 2 $float WITHSCORES
r= ZDIFF 2 $zset $zset WITHSCORES
r= ZINTERCARD 2 $zset $zset
rc! ZSCAN $zset 0 COUNT 1000
r?! ZRANDMEMBER $zset
r?! ZRANDMEMBER $zset $count WITHSCORES
w= ZADD $zset $score $member
w= ZADD $zset $score $member $score $member $score $member
w= ZADD $zset NX CH $score $member
w= ZADD $zset XX GT CH $score $member
w= ZADD $zset LT INCR $score $member
w= ZADD $zset GT NX $score $member
w= ZINCRBY $zset $score $member
w= ZREM $zset $member+
w= ZPOPMIN $zset
w= ZPOPMAX $zset $count
w= ZMPOP 2 $zset $zset MIN COUNT 2
w= ZREMRANGEBYRANK $zset $index $index
w= ZREMRANGEBYSCORE $zset $limit $limit
w= ZREMRANGEBYLEX $zset $lex $lex
w= ZUNIONSTORE $zset 2 $zset $zset AGGREGATE MAX
w= ZINTERSTORE $zset 2 $zset $zset WEIGHTS $float 1
w= ZDIFFSTORE $zset 2 $zset $zset
w= ZRANGESTORE $zset $zset $index $index
";

const STREAMS: &str = "\
r= XLEN $stream
r= XRANGE $stream - +
r= XRANGE $stream $id $id COUNT $count
r= XREVRANGE $stream + -
r= XREVRANGE $stream ($id -
r= XREAD COUNT 3 STREAMS $stream $id
r= XREAD STREAMS $stream $stream $id 0
r= XINFO STREAM $stream
r= XINFO GROUPS $stream
r? XINFO CONSUMERS $stream $group
r= XPENDING $stream $group
r? XPENDING $stream $group - + 10
w=! XADD $stream $next $field $value
w=! XADD $stream $next $field $value $field $value
w=! XADD $stream MAXLEN 5 $next $field $value
w=! XADD $stream NOMKSTREAM $id $field $value
w=! XADD $stream 0-0 $field $value
w= XDEL $stream $id
w= XTRIM $stream MAXLEN $count
w= XTRIM $stream MINID = $id
w= XSETID $stream $next
w= XGROUP CREATE $stream $group 0
w= XGROUP CREATE $stream $group $id MKSTREAM
w= XGROUP CREATECONSUMER $stream $group $consumer
w= XGROUP DELCONSUMER $stream $group $consumer
w= XGROUP SETID $stream $group $id
w= XGROUP DESTROY $stream $group
w= XREADGROUP GROUP $group $consumer COUNT 2 STREAMS $stream >
w= XREADGROUP GROUP $group $consumer STREAMS $stream 0
w= XACK $stream $group $id $next
w= XCLAIM $stream $group $consumer 0 $id JUSTID
w= XAUTOCLAIM $stream $group $consumer 0 0-0 COUNT 5 JUSTID
";

const GEO: &str = "\
r= GEOPOS $geo $member+
r= GEODIST $geo $member $member km
r= GEOHASH $geo $member+
r= GEOSEARCH $geo FROMMEMBER $member BYRADIUS 900 km ASC WITHDIST
r= GEOSEARCH $geo FROMLONLAT $lon $lat BYBOX 2000 2000 km DESC WITHCOORD WITHHASH
r= GEORADIUS_RO $geo $lon $lat 2000 km ASC COUNT 3
r= GEORADIUSBYMEMBER_RO $geo $member 2000 mi ASC
r= ZRANGE $geo 0 -1 WITHSCORES
w= GEOADD $geo $lon $lat $member
w= GEOADD $geo NX CH $lon $lat $member $lon $lat $member
w= GEOADD $geo 200 $lat $member
w= GEOSEARCHSTORE $geo $geo FROMLONLAT $lon $lat BYRADIUS 3000 km ASC
w= GEORADIUS $geo $lon $lat 1000 km ASC
w= GEORADIUSBYMEMBER $geo $member 1000 km ASC WITHDIST
";

const KEYS: &str = "\
r= EXISTS $key
r= EXISTS $key+
r= TYPE $key
r= TYPE $key
rt TTL $key
rp PTTL $key
rt EXPIRETIME $key
rp PEXPIRETIME $key
r= OBJECT ENCODING $key
r= OBJECT REFCOUNT $key
r? OBJECT IDLETIME $key
r= OBJECT FREQ $key
r= OBJECT HELP
r? DUMP $key
r? MEMORY USAGE $key
r= DBSIZE
ru KEYS *
ru KEYS $glob
r? RANDOMKEY
rc! SCAN 0 COUNT 1000
rc! SCAN 0 MATCH $glob COUNT 1000 TYPE string
r=! SCAN x$value
r= SORT $list ALPHA
r= SORT $list ALPHA DESC LIMIT $count 3
r= SORT $set ALPHA
r= SORT_RO $list ALPHA GET # GET *
ru SORT $num BY nosort
r= SORT_RO $list
r= SORT $list BY w:* GET # GET *:0
w= SORT $list ALPHA STORE $list
w= TOUCH $key+
w= DEL $key
w= DEL $key+
w= UNLINK $key
w= EXPIRE $key $ttl
w= PEXPIRE $key $ttl
w= EXPIRE $key $ttl NX
w= EXPIRE $key $ttl GT
w= EXPIRE $key -1
w= EXPIREAT $key $future
w= EXPIREAT $key 1
w= PEXPIREAT $key 1
w= EXPIRE $key $ttl XX NX
w= PERSIST $key
w= RENAME $key $key
w= RENAMENX $key $key
w= COPY $key $key
w= COPY $key $key REPLACE
w= COPY $key $key DB 1
w= MOVE $key 1
w=! RESTORE $key 0 $dump
w=! RESTORE $key $ttl $dump REPLACE
w=! RESTORE $key -1 $dump
w=! RESTORE $key 0 $value REPLACE
w= SELECT 0
w= SELECT 0
w= SELECT 1
w= SELECT 99
w= SWAPDB 0 1
w= FLUSHDB
w= FLUSHALL ASYNC
";

const SCRIPTS: &str = "\
w= EVAL $script 1 $str $value
w= EVAL $script 1 $key $value
w= EVAL $script 1 $hash $field
w= EVAL_RO $script 1 $str $value
w= EVAL $hidden 0 $str $value
w= EVAL $hidden 0 $hash $field
w= EVAL $copier 2 $key $key
w= EVAL $result 0
w= EVAL $result 0
w= EVAL_RO $result 0
w= EVAL $value 0
w= EVAL $result -1
w= EVAL $result 5 $key
w= EVALSHA $sha 0
w= EVALSHA_RO $sha 0
w= SCRIPT EXISTS $sha $sha
w= SCRIPT LOAD $result
w= SCRIPT FLUSH
w= SCRIPT HELP
w= FUNCTION LOAD REPLACE $library
w= FUNCTION LOAD $library
w= FUNCTION LOAD $value
wu FUNCTION LIST
wu FUNCTION LIST LIBRARYNAME l* WITHCODE
w= FUNCTION DELETE lib
w= FCALL put 1 $str $value
w= FCALL put 1 $key $value
w= FCALL_RO put 1 $str $value
w= FCALL_RO look 1 $str
";

const OTHERS: &str = "\
w= PING
w= PING $value
w= ECHO $value
w= ECHO
w? TIME
w? CLIENT ID
w= CLIENT GETNAME
w= CLIENT SETNAME $field
w= CLIENT SETNAME $value
w? CLIENT INFO
w? CLIENT LIST
w= CLIENT NO-EVICT on
w= CLIENT REPLY ON
w= CLIENT GETREDIR
w= CLIENT HELP
w= CLIENT NOSUCH
wi! HELLO
wi! HELLO 2
wi! HELLO 3
wi! HELLO 3 SETNAME $field
w=! HELLO 4
w=! HELLO $value
w=! HELLO 3 AUTH nobody $value
w= AUTH $field
w= AUTH nobody $field
w= RESET
w=! COMMAND COUNT
w= COMMAND INFO get mset nosuch xreadgroup
w=! COMMAND DOCS get
w= COMMAND GETKEYS MSET $key $value $key $value
w= COMMAND GETKEYS EVAL $result 2 $key $key
w= COMMAND GETKEYSANDFLAGS SORT $key STORE $key
w= COMMAND GETKEYS PING
wu COMMAND LIST FILTERBY PATTERN x*
w= CONFIG GET hz
w= CONFIG GET nosuch
w? INFO
w? INFO memory
w? LASTSAVE
w= ROLE
w= ACL WHOAMI
w= ACL DRYRUN default GET $key
wu ACL CAT string
w= PUBLISH $field $value
w= PUBSUB CHANNELS
w= PUBSUB NUMSUB $field
w= CLUSTER INFO
w= READONLY
w= MODULE LIST
w= OBJECT
w= OBJECT NOSUCH $key
w= XGROUP NOSUCH $key
w= NOSUCH $value+
w= nosuch
w= GETT $key
w= GET $key $key
w= HSET $hash
w= SUBSTR $key
w= $value $value
";

/// Beginnings of commands that strata answers itself, as Redis 7.0 does and later servers do no more.
pub(super) const OF_REDIS_7_0: &[&str] = &["CLIENT HELP", "CLIENT SETNAME", "HELLO 3 SETNAME", "READONLY"];

/// Stand for a script that takes a key and an argument.
pub(super) const KEYED_SCRIPTS: &[&str] = &[
    "return redis.call('GET', KEYS[1])",
    "return redis.call('SET', KEYS[1], ARGV[1])",
    "return redis.pcall('HSET', KEYS[1], ARGV[1], 'by script')",
    "redis.call('APPEND', KEYS[1], ARGV[1]) return redis.call('STRLEN', KEYS[1])",
    "return {redis.call('TYPE', KEYS[1]), redis.call('EXISTS', KEYS[1])}",
    "return redis.call('NOSUCH', KEYS[1])",
    "redis.call('SET', KEYS[1], ARGV[1]) error('after a write')",
];

/// Stand for a script that finds its key among its arguments.
pub(super) const HIDDEN_KEY_SCRIPTS: &[&str] = &[
    "return redis.call('SET', ARGV[1], ARGV[2])",
    "return redis.call('DEL', ARGV[1])",
    "return redis.pcall('HSET', ARGV[1], ARGV[2], '1')",
    "redis.call('DEL', ARGV[1]) return redis.call('RPUSH', ARGV[1], ARGV[2], '2')",
];

/// Stand for a script that copies one key to another, whatever it holds.
pub(super) const COPYING_SCRIPTS: &[&str] = &[
    "local all = redis.call('DUMP', KEYS[1]) if not all then return 'none' end \
     return redis.call('RESTORE', KEYS[2], 0, all, 'REPLACE')",
    "return redis.pcall('RENAME', KEYS[1], KEYS[2])",
];

/// Stand for a script without keys, one for each type of reply.
pub(super) const RESULT_SCRIPTS: &[&str] = &[
    "return 1",
    "return 3.99",
    "return 'text'",
    "return false",
    "return {1, 2, {'three', 4}, nil, 5}",
    "return {ok = 'fine'}",
    "return {err = 'ERR my own'}",
    "return redis.error_reply('my own')",
    "return {double = 2.5}",
    "return {map = {a = 1}}",
    "return #ARGV + #KEYS",
    "redis.setresp(3) return redis.call('ZSCORE', 'zset:0', 'm1')",
    "return nosuch",
    "return return",
];

/// Digests of `return 1`, and of nothing that was ever loaded.
pub(super) const DIGESTS: &[&str] =
    &["e0e1f9fabfc9d4800c877a703b823ac0578ff8db", "ffffffffffffffffffffffffffffffffffffffff", "short"];

pub(super) const LIBRARY: &str = "#!lua name=lib
redis.register_function('put', function(keys, args) return redis.call('SET', keys[1], args[1]) end)
redis.register_function{
  function_name = 'look',
  callback = function(keys) return redis.call('GET', keys[1]) end,
  flags = {'no-writes'}
}
";

/// What DUMP of Redis 7.0 says of a number, a string, a list, a hash, a sorted set and a set of numbers.
pub(super) const DUMPS: &[&[u8]] = &[
    b"\x00\xc0\x11\x0a\x00\xe4\x03)E<\xf4+\x1c",
    b"\x00\x0bhello world\x0a\x00\x0b\xfcI\xb9\xa6\xc7\xa04",
    b"\x12\x01\x02\x0f\x0f\x00\x00\x00\x03\x00\x81x\x02\x81y\x02\x03\x01\xff\x0a\x00\xf3#CR\xc3\xc8\xb4\xdd",
    b"\x10\x17\x17\x00\x00\x00\x04\x00\x82f1\x03\x01\x01\x82f2\x03\x84zwei\x05\xff\x0a\x00\x8d\xd5\x1b\xc0\x97\x03yf",
    b"\x11\x16\x16\x00\x00\x00\x04\x00\x82m1\x03\x01\x01\x82m2\x03\x832.5\x04\xff\x0a\x00\xdd\x92o\x09_\x85L{",
    b"\x0b\x0e\x02\x00\x00\x00\x03\x00\x00\x00\x01\x00\x02\x00\x03\x00\x0a\x00\xa5\x02\x5c\xe2mnM\x1b",
];
