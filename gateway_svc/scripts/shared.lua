-- Goes before every other script. KEYS[1] is the prefix of all keys.
local P = KEYS[1]

local function fenced(fence)
    return redis.call('GET', P .. 'fence') ~= fence
end

local function enqueue(target, thread, key, recorded, job, now)
    local field = target .. ' ' .. thread
    local raw = redis.call('HGET', P .. 'queues', field)
    local queue = raw and cjson.decode(raw) or {}
    queue[#queue + 1] = key
    redis.call('HSET', P .. 'jobs', key, job)
    redis.call('ZADD', P .. 'waiting:' .. target, recorded, key)
    redis.call('HSET', P .. 'queues', field, cjson.encode(queue))
    if #queue == 1 then
        redis.call('ZADD', P .. 'due:' .. target, now, thread)
    end
end

-- Whether it was there.
local function dequeue(target, thread, key, now)
    if redis.call('HDEL', P .. 'jobs', key) == 0 then
        return false
    end
    redis.call('ZREM', P .. 'waiting:' .. target, key)
    local field = target .. ' ' .. thread
    local queue, place = cjson.decode(redis.call('HGET', P .. 'queues', field)), 0
    for at, other in ipairs(queue) do
        if other == key then
            place = at
        end
    end
    table.remove(queue, place)
    if #queue == 0 then
        redis.call('HDEL', P .. 'queues', field)
        redis.call('ZREM', P .. 'due:' .. target, thread)
    else
        redis.call('HSET', P .. 'queues', field, cjson.encode(queue))
        if place == 1 then
            redis.call('ZADD', P .. 'due:' .. target, now, thread)
        end
    end
    return true
end

local function drop_letters(keys)
    for _, key in ipairs(keys) do
        redis.call('ZREM', P .. 'dead', key)
        redis.call('HDEL', P .. 'letters', key)
    end
end

local function keep_dead(key, at, reason, detail, job, most)
    redis.call('HSET', P .. 'letters', key, cjson.encode({reason = reason, detail = detail, at = at, job = job}))
    redis.call('ZADD', P .. 'dead', at, key)
    drop_letters(redis.call('ZRANGE', P .. 'dead', 0, -(most + 1)))
end
