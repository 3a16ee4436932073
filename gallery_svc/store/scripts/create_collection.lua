-- KEYS head, record.  ARGV record, model_id, generation.
if redis.call('EXISTS', KEYS[1]) == 1 then return {'exists'} end
redis.call('HSET', KEYS[1], 'generation', ARGV[3], 'model_id', ARGV[2],
  'position', 0, 'chain', ARGV[3], 'subjects', 0, 'templates', 0)
redis.call('SET', KEYS[2], ARGV[1])
return {'ok'}
