-- fence, target, thread, key, at_ms, reason, detail, job, max_dead, forgotten_ms; -1: fenced.
if fenced(ARGV[1]) then
    return -1
end
if dequeue(ARGV[2], ARGV[3], ARGV[4], ARGV[5]) then
    keep_dead(ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8], tonumber(ARGV[9]))
    drop_letters(redis.call('ZRANGEBYSCORE', P .. 'dead', '-inf', ARGV[10]))
    if ARGV[6] == 'HELD_BACK' then
        redis.call('HINCRBY', P .. 'held', 'total ' .. ARGV[2], 1)
    end
end
return 1
