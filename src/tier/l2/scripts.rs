//! The scripts by which copies come to be in L2, each one turn of it.
//!
//! A key's hash holds, besides its copies: `n`, the nonce; `e`, the epoch it was made in; `x`, when the first of its
//! copies ends (milliseconds of L2's clock); `l<field>`, until when a field is being filled. The hash of the epoch
//! holds `e`, a random one, and `n`, how many fills it has seen.

/// Bytes of a nonce and of an epoch.
pub const RANDOM: usize = 16;

/// Asked when a copy is not there or of an unknown epoch: KEYS copies, epoch; ARGV field, random bytes, how long the
/// caller may take to fill it and how long the nonce lives (ms), the most fields of a hash. Answers
/// - `[record, epoch]`: the copy is there;
/// - a number: somebody else fills it, for so many ms at most;
/// - `[nonce, epoch, now]`: the caller is to fill it; `now` is L2's clock.
///
/// An epoch that is missing is replaced by a random one. A hash of another epoch, or one of too many requests, begins
/// anew.
pub const TAKE: &str = "\
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local epoch = redis.call('HGET', KEYS[2], 'e')
if not epoch then
  epoch = ARGV[2]
  redis.call('HSET', KEYS[2], 'e', epoch, 'n', 0)
end
local field = ARGV[1]
local has = redis.call('HMGET', KEYS[1], 'n', 'e', field, 'l' .. field)
local nonce = has[1]
if nonce and has[2] == epoch and redis.call('HLEN', KEYS[1]) < tonumber(ARGV[5]) then
  if has[3] then
    return {has[3], epoch}
  end
  local left = (tonumber(has[4] or 0) or 0) - now
  if left > 0 then
    return left
  end
else
  redis.call('DEL', KEYS[1])
  nonce = ARGV[2]
  redis.call('HSET', KEYS[1], 'n', nonce, 'e', epoch)
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
redis.call('HSET', KEYS[1], 'l' .. field, string.format('%.0f', now + ARGV[3]))
return {nonce, epoch, now}
";

/// Stores a value that home does not know, in the place of all copies of its key: KEYS copies, epoch; ARGV random bytes, end
/// (ms of L2's clock), then a field and its record each. Answers the epoch; nil: there is none yet.
pub const PUT: &str = "\
local epoch = redis.call('HGET', KEYS[2], 'e')
if not epoch then
  return false
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'n', ARGV[1], 'e', epoch, 'x', ARGV[2])
for i = 3, #ARGV, 2 do
  local number = redis.call('HINCRBY', KEYS[2], 'n', 1)
  redis.call('HSET', KEYS[1], ARGV[i], epoch .. struct.pack('<I8', number) .. ARGV[i + 1])
end
redis.call('PEXPIREAT', KEYS[1], ARGV[2])
return epoch
";

/// Stores a copy, if the nonce and the epoch that were taken before it was read at home are still there and nobody
/// was faster: KEYS copies, epoch; ARGV field, nonce, epoch, end of the copy (ms of L2's clock), record. Answers 1 if
/// it did. In front of the record go the epoch and the number of the fill.
pub const FILL: &str = "\
local field = ARGV[1]
if redis.call('HGET', KEYS[1], 'n') ~= ARGV[2] or redis.call('HGET', KEYS[2], 'e') ~= ARGV[3] then
  return 0
end
redis.call('HDEL', KEYS[1], 'l' .. field)
if redis.call('HEXISTS', KEYS[1], field) == 1 then
  return 0
end
local number = redis.call('HINCRBY', KEYS[2], 'n', 1)
redis.call('HSET', KEYS[1], field, ARGV[3] .. struct.pack('<I8', number) .. ARGV[5])
local first = tonumber(redis.call('HGET', KEYS[1], 'x') or '')
if not first or tonumber(ARGV[4]) < first then
  redis.call('HSET', KEYS[1], 'x', ARGV[4])
  redis.call('PEXPIREAT', KEYS[1], ARGV[4])
end
return 1
";
