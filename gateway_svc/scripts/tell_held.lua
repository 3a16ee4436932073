-- fence, target, held_told; -1: fenced.
if fenced(ARGV[1]) then
    return -1
end
redis.call('HSET', P .. 'held', 'told ' .. ARGV[2], ARGV[3])
return 1
