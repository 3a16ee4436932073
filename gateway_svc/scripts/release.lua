-- fence, holder
if not fenced(ARGV[1]) and redis.call('GET', P .. 'lease') == ARGV[2] then
    redis.call('DEL', P .. 'lease')
end
return 1
