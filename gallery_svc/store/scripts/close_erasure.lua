#!lua flags=allow-oom
-- KEYS erasing.  ARGV receipt id.
redis.call('HDEL', KEYS[1], ARGV[1])
return {'ok'}
