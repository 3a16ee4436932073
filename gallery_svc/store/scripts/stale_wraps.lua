#!lua flags=no-writes
-- KEYS hash of sealed values.  ARGV cursor, count, header of values under the wrapping key.
-- Answers the next cursor, how many it looked at, then (field, header and wrap) of those under another key.
local told = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local answer = {told[1], #told[2] / 2}
for at = 2, #told[2], 2 do
  if string.sub(told[2][at], 1, 8) ~= ARGV[3] then
    answer[#answer + 1] = told[2][at - 1]
    answer[#answer + 1] = string.sub(told[2][at], 1, 68)
  end
end
return answer
