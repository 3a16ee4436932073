#!lua flags=allow-oom
-- KEYS looks, by when they were seen, by sequence.  ARGV ids of tracklets.  Removes what is there of them; how many it was.
local dropped = 0
for _, id in ipairs(ARGV) do
  redis.call('HDEL', KEYS[1], id)
  redis.call('ZREM', KEYS[3], id)
  dropped = dropped + redis.call('ZREM', KEYS[2], id)
end
return dropped
