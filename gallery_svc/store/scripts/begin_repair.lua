#!lua flags=allow-oom
-- Takes a shard for repair: no other script writes to it until it is ended. Another repair that did not end is taken over.
-- KEYS head.  ARGV generation, token, shards, active epoch, epochs, revision of the record, schema.
local generation = redis.call('HGET', KEYS[1], 'generation')
if generation and generation ~= ARGV[1] then return {'other', generation} end
redis.call('HSET', KEYS[1], 'pending', ARGV[2])
if not generation then
  redis.call('HSET', KEYS[1], 'generation', ARGV[1], 'shards', ARGV[3], 'position', 0, 'chain', ARGV[1],
    'active', ARGV[4], 'epochs', ARGV[5], 'kept', ARGV[4], 'revision', ARGV[6], 'subjects', 0, 'templates', 0,
    'schema', ARGV[7])
end
return {'ok', redis.call('HGET', KEYS[1], 'kept') or ARGV[4]}
