#!lua flags=allow-oom
-- KEYS record.  ARGV record before.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return {'changed'} end
redis.call('DEL', KEYS[1])
return {'ok'}
