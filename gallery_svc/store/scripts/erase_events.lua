#!lua flags=allow-oom
-- KEYS events, latest, seen.  Removes every revision that names one subject; returns how many.
local sequences = redis.call('ZRANGE', KEYS[3], 0, -1)
for _, sequence in ipairs(sequences) do
  local entry = redis.call('XRANGE', KEYS[1], sequence .. '-0', sequence .. '-0')
  if #entry > 0 then
    local id = entry[1][2][2]
    redis.call('XDEL', KEYS[1], entry[1][1])
    local kept = redis.call('HGET', KEYS[2], id)
    if kept and string.match(kept, '^%d+') == sequence then redis.call('HDEL', KEYS[2], id) end
  end
end
redis.call('DEL', KEYS[3])
return #sequences
