-- Compare and set.  KEYS record.  ARGV record before ('' = none), record.
local found = redis.call('GET', KEYS[1])
if (found or '') ~= ARGV[1] then return {'changed', found or ''} end
redis.call('SET', KEYS[1], ARGV[2])
return {'ok'}
