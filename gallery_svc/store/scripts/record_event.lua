-- KEYS head, events, latest, audit, then the subject's sightings where the event names one.
-- ARGV event_id, content key, event, events kept, then the audit entry and its stamp, where there is one.
-- The sightings of events that leave by age lie under the same tag.
local latest = redis.call('HGET', KEYS[3], ARGV[1])
local revision = 0
if latest then
  local sequence, last_revision, content = string.match(latest, '^(%d+) (%d+) (.*)$')
  if content == ARGV[2] then return {'known', sequence, last_revision} end
  revision = tonumber(last_revision)
end
-- Where a file was cut in the middle of this script, the log is ahead of its head: it goes on behind what is there.
local newest = math.max(tonumber(redis.call('HGET', KEYS[1], 'newest') or 0), last_sequence(KEYS[2]))
local oldest = tonumber(redis.call('HGET', KEYS[1], 'oldest') or 1)
local entry = last_sequence(KEYS[4]) + 1
local seen = KEYS[5] or ''

local sequence, next_revision = newest + 1, revision + 1
redis.call('XADD', KEYS[2], sequence .. '-0', 'id', ARGV[1], 'revision', next_revision, 'event', ARGV[3], 'seen', seen)
redis.call('HSET', KEYS[3], ARGV[1], sequence .. ' ' .. next_revision .. ' ' .. ARGV[2])
if seen ~= '' then redis.call('ZADD', seen, sequence, sequence) end
-- Retention by count: at most two a call go, so that a lowered limit is reached without a pause.
for _ = 1, 2 do
  if sequence - oldest + 1 > tonumber(ARGV[4]) then
    local old = redis.call('XRANGE', KEYS[2], oldest .. '-0', oldest .. '-0')
    if #old > 0 then
      local fields = old[1][2]
      redis.call('XDEL', KEYS[2], old[1][1])
      local kept = redis.call('HGET', KEYS[3], fields[2])
      if kept and string.match(kept, '^%d+') == tostring(oldest) then redis.call('HDEL', KEYS[3], fields[2]) end
      if fields[8] ~= '' then redis.call('ZREM', fields[8], oldest) end
    end
    oldest = oldest + 1
  end
end
redis.call('HSET', KEYS[1], 'newest', sequence, 'oldest', oldest)
if #ARGV > 4 then append_audit(KEYS[4], entry, ARGV[5], ARGV[6]) end
return {'ok', sequence, next_revision}
