-- holder, lease_ms -> the fence; 0: somebody else has the lease.
local before = redis.call('GET', P .. 'lease')
if before and before ~= ARGV[1] then
    return 0
end
redis.call('SET', P .. 'lease', ARGV[1], 'PX', ARGV[2])
if before ~= ARGV[1] then
    return redis.call('INCR', P .. 'fence')
end
return tonumber(redis.call('GET', P .. 'fence'))
