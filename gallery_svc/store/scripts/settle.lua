-- Writes to an answer that was given before, so that what is waited for now covers that first write.
-- KEYS head, request.  ARGV generation.
local head, refusal = open_head(KEYS[1], ARGV[1])
if not head then return refusal end
if redis.call('HGET', KEYS[2], 'generation') ~= ARGV[1] then return {'gone'} end
redis.call('HINCRBY', KEYS[2], 'settled', 1)
return {'ok'}
