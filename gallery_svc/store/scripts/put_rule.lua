-- KEYS rules, their revisions, the judgement's head, the event log's head.
-- ARGV rule id, revision, record, 1 where it is deleted and 0 where it is not.
-- The revisions are written first: one that no rule points at yet is written again by the same call.
local found = redis.call('HGET', KEYS[1], ARGV[1]) or ''
local at, was_deleted, record = string.match(found, '^(%d+) (%d) (.*)$')
if at == ARGV[2] and record == ARGV[3] then return {'ok'} end
if tonumber(at or 0) ~= tonumber(ARGV[2]) - 1 then return {'changed', at or 0} end

redis.call('HSET', KEYS[2], ARGV[1] .. '@' .. ARGV[2], ARGV[3])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. ARGV[4] .. ' ' .. ARGV[3])
local live = tonumber(redis.call('HGET', KEYS[3], 'live') or 0)
if live == 0 then  -- nobody has judged: what happened until now is over
  redis.call('HSET', KEYS[3], 'cursor', redis.call('HGET', KEYS[4], 'newest') or 0)
  redis.call('HINCRBY', KEYS[3], 'version', 1)
end
local was_live, is_live = (at and was_deleted == '0') and 1 or 0, 1 - tonumber(ARGV[4])
redis.call('HSET', KEYS[3], 'live', live + is_live - was_live)
redis.call('HINCRBY', KEYS[3], 'rules', 1)
return {'ok'}
