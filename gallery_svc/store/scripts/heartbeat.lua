-- KEYS members.  ARGV member id, what it says, milliseconds after which a silent one is forgotten.
local now = now_ms()
local members = redis.call('HGETALL', KEYS[1])
for at = 1, #members, 2 do
  if tonumber(string.match(members[at + 1], '^%d+')) + tonumber(ARGV[3]) < now then
    redis.call('HDEL', KEYS[1], members[at])
  end
end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%d %s', now, ARGV[2]))
return 1
