-- Values under another key: their first bytes are compared and set; bodies and tags stay, and so does the head.
-- KEYS head, hash of sealed values.  ARGV generation, then for each value: field, header and wrap before, and now.
local head, refusal = open_head(KEYS[1], ARGV[1])
if not head then return refusal end
for at = 2, #ARGV, 3 do
  local value = redis.call('HGET', KEYS[2], ARGV[at])
  if value and string.sub(value, 1, 68) == ARGV[at + 1] then
    redis.call('HSET', KEYS[2], ARGV[at], ARGV[at + 2] .. string.sub(value, 69))
  end
end
return {'ok'}
