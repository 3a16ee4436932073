-- A subject's row of an epoch that is not active; searches and the change log know nothing of it.
-- KEYS head, subjects, rows of that epoch.  ARGV generation, epoch, subject id, tag of its record, row.
local head, refusal = open_head(KEYS[1], ARGV[1])
if not head then return refusal end
if head.active == ARGV[2] or not lists(head.epochs, ARGV[2]) then return {'layout', head.active, head.kept} end
local record = redis.call('HGET', KEYS[2], ARGV[3])
if not record or tag_of(record) ~= ARGV[4] then return {'changed'} end
local name = 'state:rows:' .. ARGV[2]
local state = folded(redis.call('HGET', KEYS[1], name) or NO_TAGS, tag_of(redis.call('HGET', KEYS[3], ARGV[3])))
local kept = head.kept
if not lists(kept, ARGV[2]) then kept = kept .. ',' .. ARGV[2] end

begin_write(KEYS[1], head.position .. ' ' .. ARGV[3])
redis.call('HSET', KEYS[3], ARGV[3], ARGV[5])
redis.call('HSET', KEYS[1], name, folded(state, tag_of(ARGV[5])), 'kept', kept)
end_write(KEYS[1])
return {'ok'}
