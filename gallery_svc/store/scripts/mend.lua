#!lua flags=allow-oom
-- KEYS head, subjects, order, pictures, then rows of each epoch that is kept.  ARGV token, then for each subject: its id,
-- its record and its row of each epoch ('' = none, '=' = as it is), how many pictures go, and their fields.
if redis.call('HGET', KEYS[1], 'pending') ~= ARGV[1] then return {'lost'} end
local function put(key, subject, value)
  if value == '' then redis.call('HDEL', key, subject) elseif value ~= '=' then redis.call('HSET', key, subject, value) end
end
local at = 2
while at <= #ARGV do
  local subject = ARGV[at]
  put(KEYS[2], subject, ARGV[at + 1])
  if ARGV[at + 1] == '' then redis.call('ZREM', KEYS[3], subject) else redis.call('ZADD', KEYS[3], 0, subject) end
  for row = 5, #KEYS do put(KEYS[row], subject, ARGV[at + row - 3]) end
  local pictures_at = at + #KEYS - 2
  for picture = 1, tonumber(ARGV[pictures_at]) do redis.call('HDEL', KEYS[4], ARGV[pictures_at + picture]) end
  at = pictures_at + tonumber(ARGV[pictures_at]) + 1
end
return {'ok'}
