-- KEYS head, subjects, order, vectors, log, audit, request.
-- ARGV subject_id, subject before, digest ('' = no request id), receipt, kept_ms, audit entry, audit kept, log kept,
--      then its template ids.
local head = redis.call('HMGET', KEYS[1], 'generation', 'position')
if not head[1] then return {'absent'} end
if ARGV[3] ~= '' then
  local earlier = earlier_answer(KEYS[7], head[1], ARGV[3])
  if earlier then return earlier end
end
local before = redis.call('HGET', KEYS[2], ARGV[1])
if not before then return {'no_subject'} end
if before ~= ARGV[2] then return {'changed'} end
if last_sequence(KEYS[5]) > tonumber(head[2]) then return {'corrupt', KEYS[5]} end

redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
for at = 9, #ARGV do redis.call('HDEL', KEYS[4], ARGV[at]) end
redis.call('HINCRBY', KEYS[1], 'subjects', -1)
redis.call('HINCRBY', KEYS[1], 'templates', -(#ARGV - 8))
local position = append_change(KEYS[1], KEYS[5], 'ERASED', ARGV[1], '', ARGV[8])
append_audit(KEYS[6], ARGV[6], ARGV[7])
if ARGV[3] ~= '' then remember_answer(KEYS[7], head[1], ARGV[3], position, ARGV[4], ARGV[5]) end
return {'ok', position}
