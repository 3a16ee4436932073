#!lua flags=allow-oom
-- KEYS head, rows of the epoch.  ARGV generation, epoch.
local head, refusal = open_head(KEYS[1], ARGV[1])
if not head then return refusal end
if head.active == ARGV[2] then return {'layout', head.active, head.kept} end
local kept = {}
for epoch in string.gmatch(head.kept, '%d+') do
  if epoch ~= ARGV[2] then kept[#kept + 1] = epoch end
end
begin_write(KEYS[1], head.position .. ' epoch ' .. ARGV[2])
redis.call('UNLINK', KEYS[2])
redis.call('HDEL', KEYS[1], 'state:rows:' .. ARGV[2])
redis.call('HSET', KEYS[1], 'kept', table.concat(kept, ','))
end_write(KEYS[1])
return {'ok'}
