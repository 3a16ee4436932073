#!lua flags=allow-oom
-- The shard is whole again: with counts and folds as they were found, and a history that nobody knows, so that whoever
-- follows it loads again.
-- KEYS head, log, audit.  ARGV token, seed of the new history, subjects, templates, how many folds,
-- (field of the head, fold) of each, then each audit entry and its stamp.
local found = redis.call('HMGET', KEYS[1], 'pending', 'position', 'active')
if found[1] ~= ARGV[1] then return {'lost'} end
local position = math.max(tonumber(found[2]) or 0, last_sequence(KEYS[2]))
local entry, audit_at = last_sequence(KEYS[3]) + 1, 6 + 2 * tonumber(ARGV[5])

redis.call('DEL', KEYS[2])
local head = {position = position, chain = ARGV[2], active = found[3]}
local sequence, chain = append_change(KEYS[2], head, 'REPAIRED', '', '')
for at = 6, audit_at - 1, 2 do redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1]) end
redis.call('HSET', KEYS[1], 'position', sequence, 'chain', chain, 'subjects', ARGV[3], 'templates', ARGV[4])
for at = audit_at, #ARGV, 2 do append_audit(KEYS[3], entry + (at - audit_at) / 2, ARGV[at], ARGV[at + 1]) end
redis.call('HDEL', KEYS[1], 'pending', 'begun', 'closed')
return {'ok', sequence}
