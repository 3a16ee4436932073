-- Says in a request's own shard whose subject it is about, where that subject lives in another one. Promises nothing.
-- KEYS head, request.  ARGV generation, digest, subject id, milliseconds to keep it.
local head, refusal = open_head(KEYS[1], ARGV[1])
if not head then return refusal end
local earlier = earlier_answer(KEYS[2], ARGV[1], ARGV[2], 'CLAIM', ARGV[3])
if earlier then return earlier end
redis.call('HSET', KEYS[2], 'generation', ARGV[1], 'digest', ARGV[2], 'kind', 'CLAIM', 'subject', ARGV[3])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
return {'claimed', ARGV[3]}
