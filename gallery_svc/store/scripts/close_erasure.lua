#!lua flags=allow-oom
-- The end of an erasure: its receipt is kept from now on, with what was told of the end first.
-- KEYS erasing, receipt.  ARGV receipt id, the end, milliseconds to keep it.
local receipt = redis.call('HGET', KEYS[1], ARGV[1])
if receipt then
  redis.call('SET', KEYS[2], receipt .. '\n' .. ARGV[2], 'PX', ARGV[3])
  redis.call('HDEL', KEYS[1], ARGV[1])
end
return {'ok'}
