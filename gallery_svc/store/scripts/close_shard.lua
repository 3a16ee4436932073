#!lua flags=allow-oom
-- Keeps writers out of a shard for a while, before its collection goes; with 0 milliseconds it lets them in again.
-- KEYS head.  ARGV generation, force, milliseconds.
local found = redis.call('HMGET', KEYS[1], 'generation', 'subjects', 'pending', 'begun')
if not found[1] or found[1] ~= ARGV[1] then return {'absent'} end
if ARGV[3] == '0' then
  redis.call('HDEL', KEYS[1], 'closed')
  return {'ok', found[2]}
end
local half = unfinished(found[3], found[4])
if ARGV[2] ~= '1' and half then return {'pending', half} end
if ARGV[2] ~= '1' and tonumber(found[2]) > 0 then return {'not_empty', found[2]} end
redis.call('HSET', KEYS[1], 'closed', now_ms() + tonumber(ARGV[3]))
return {'ok', found[2]}
