-- A look at a person. The value is written last: what a cut leaves is an entry without one, which nobody reads and the
-- next sweep takes away.
-- KEYS head, looks, by when they were seen, by sequence, count, anonymous ids.
-- ARGV generation, tracklet id, look, when it was seen (ms), looks kept, when all of them may go at the latest (ms),
-- anonymous id.
local head, refusal = open_head(KEYS[1], ARGV[1])
if not head then return refusal end
local sequence = redis.call('INCR', KEYS[5])
redis.call('ZADD', KEYS[6], 'GT', ARGV[4], ARGV[7])
redis.call('ZADD', KEYS[3], ARGV[4], ARGV[2])
redis.call('ZADD', KEYS[4], sequence, ARGV[2])
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
for _ = 1, 2 do
  if redis.call('ZCARD', KEYS[3]) > tonumber(ARGV[5]) then
    local oldest = redis.call('ZRANGE', KEYS[3], 0, 0)[1]
    redis.call('HDEL', KEYS[2], oldest)
    redis.call('ZREM', KEYS[4], oldest)
    redis.call('ZREM', KEYS[3], oldest)
  end
end
for at = 2, 4 do
  if redis.call('PEXPIRETIME', KEYS[at]) < tonumber(ARGV[6]) then redis.call('PEXPIREAT', KEYS[at], ARGV[6]) end
end
return {'ok', sequence}
