-- now_ms, then of each: target, thread, key, recorded_ms, job -> how many were still there.
local revived = 0
for at = 2, #ARGV, 5 do
    local key = ARGV[at + 2]
    if redis.call('HEXISTS', P .. 'letters', key) == 1 then
        drop_letters({key})
        enqueue(ARGV[at], ARGV[at + 1], key, ARGV[at + 3], ARGV[at + 4], ARGV[1])
        revived = revived + 1
    end
end
return revived
