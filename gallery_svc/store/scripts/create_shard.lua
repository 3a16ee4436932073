-- KEYS head.  ARGV generation, shards, active epoch, epochs, revision of the record, schema.
-- The same again does nothing.
local found = redis.call('HGET', KEYS[1], 'generation')
if found == ARGV[1] then return {'ok'} end
if found then return {'other', found} end
redis.call('HSET', KEYS[1], 'generation', ARGV[1], 'shards', ARGV[2], 'position', 0, 'chain', ARGV[1],
  'active', ARGV[3], 'epochs', ARGV[4], 'kept', ARGV[3], 'revision', ARGV[5], 'subjects', 0, 'templates', 0,
  'schema', ARGV[6])
return {'ok'}
