-- fence, holder, lease_ms -> 1; -1: another gateway has had the lease since.
if fenced(ARGV[1]) then
    return -1
end
redis.call('SET', P .. 'lease', ARGV[2], 'PX', ARGV[3])
return 1
