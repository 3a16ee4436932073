-- fence, cursor, now_ms, max_waiting, max_dead, then of each: target, thread, key, recorded_ms, job
-- -> how many were new; -1: fenced.
if fenced(ARGV[1]) then
    return -1
end
local cursor, now, most, most_dead, new = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), 0
for at = 6, #ARGV, 5 do
    local target, thread, key, recorded, job = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
    local known = redis.call('HEXISTS', P .. 'jobs', key) == 1
        or redis.call('ZSCORE', P .. 'done', key)
        or redis.call('HEXISTS', P .. 'letters', key) == 1
    if not known then
        new = new + 1
        if redis.call('ZCARD', P .. 'waiting:' .. target) >= most then
            keep_dead(key, now, 'OVERFLOW', most .. ' waited already', job, most_dead)
        else
            enqueue(target, thread, key, recorded, job, now)
        end
    end
end
redis.call('SET', P .. 'cursor', cursor)
return new
