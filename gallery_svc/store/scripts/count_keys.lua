#!lua flags=no-writes
-- KEYS hash of sealed values.  ARGV cursor, count.  Answers the next cursor, then (fingerprint, values) of each key.
local told = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local counts, answer = {}, {told[1]}
for at = 2, #told[2], 2 do
  local fingerprint = string.sub(told[2][at], 5, 8)
  counts[fingerprint] = (counts[fingerprint] or 0) + 1
end
for fingerprint, count in pairs(counts) do
  answer[#answer + 1] = fingerprint
  answer[#answer + 1] = count
end
return answer
