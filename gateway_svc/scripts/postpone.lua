-- fence, target, thread, key, until_ms, job; -1: fenced.
if fenced(ARGV[1]) then
    return -1
end
if redis.call('HEXISTS', P .. 'jobs', ARGV[4]) == 1 then
    redis.call('HSET', P .. 'jobs', ARGV[4], ARGV[6])
    redis.call('ZADD', P .. 'due:' .. ARGV[2], 'XX', ARGV[5], ARGV[3])
end
return 1
