#!lua flags=allow-oom
-- KEYS stream.  ARGV last sequence that goes.  Nothing else ever trims a log.
if redis.call('EXISTS', KEYS[1]) == 0 then return {'absent'} end
redis.call('XTRIM', KEYS[1], 'MINID', '=', (tonumber(ARGV[1]) + 1) .. '-0')
return {'ok'}
