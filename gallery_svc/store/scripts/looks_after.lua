#!lua flags=no-writes
-- The looks that were written after a sequence.  KEYS head, looks, by when they were seen, by sequence, count, anonymous ids.
-- ARGV sequence, limit.  Answers the generation, the newest sequence, how many there are, then (sequence, id, look).
local answer = {redis.call('HGET', KEYS[1], 'generation') or '', redis.call('GET', KEYS[5]) or '0',
  redis.call('ZCARD', KEYS[4])}
local found = redis.call('ZRANGEBYSCORE', KEYS[4], '(' .. ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[2])
for at = 1, #found, 2 do
  answer[#answer + 1] = found[at + 1]
  answer[#answer + 1] = found[at]
  answer[#answer + 1] = redis.call('HGET', KEYS[2], found[at]) or ''
end
return answer
