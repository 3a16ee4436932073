-- fence, target, thread, key, now_ms, forgotten_ms, held_told or ''; -1: fenced.
if fenced(ARGV[1]) then
    return -1
end
dequeue(ARGV[2], ARGV[3], ARGV[4], ARGV[5])
redis.call('ZADD', P .. 'done', ARGV[5], ARGV[4])
redis.call('ZREMRANGEBYSCORE', P .. 'done', '-inf', ARGV[6])
if ARGV[7] ~= '' then
    redis.call('HSET', P .. 'held', 'told ' .. ARGV[2], ARGV[7])
end
return 1
