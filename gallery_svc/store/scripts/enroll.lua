-- KEYS head, subjects, order, vectors, log, audit, request.
-- ARGV subject_id, subject before ('' = new), subject after, digest ('' = no request id), answer, kept_ms,
--      audit entry, audit kept, log kept, then for each template: template_id, model_id, vector.
local head = redis.call('HMGET', KEYS[1], 'generation', 'model_id', 'position')
if not head[1] then return {'absent'} end
if ARGV[4] ~= '' then
  local earlier = earlier_answer(KEYS[7], head[1], ARGV[4])
  if earlier then return earlier end
end
if (redis.call('HGET', KEYS[2], ARGV[1]) or '') ~= ARGV[2] then return {'changed'} end
local ids = {}
for at = 10, #ARGV, 3 do
  if ARGV[at + 1] ~= head[2] then return {'model', head[2], ARGV[at + 1]} end
  ids[#ids + 1] = ARGV[at]
end
if last_sequence(KEYS[5]) > tonumber(head[3]) then return {'corrupt', KEYS[5]} end

redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
redis.call('ZADD', KEYS[3], 0, ARGV[1])
for at = 10, #ARGV, 3 do redis.call('HSET', KEYS[4], ARGV[at], ARGV[at + 2]) end
if ARGV[2] == '' then redis.call('HINCRBY', KEYS[1], 'subjects', 1) end
redis.call('HINCRBY', KEYS[1], 'templates', #ids)
local position = append_change(KEYS[1], KEYS[5], 'ENROLLED', ARGV[1], table.concat(ids, ','), ARGV[9])
append_audit(KEYS[6], ARGV[7], ARGV[8])
if ARGV[4] ~= '' then remember_answer(KEYS[7], head[1], ARGV[4], position, ARGV[5], ARGV[6]) end
return {'ok', position}
