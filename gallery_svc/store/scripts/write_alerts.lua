-- What a step of the judgement, or a person, changes of alerts: everything is checked first, then written.
-- KEYS head of the judgement, what it remembers, alerts, their order, head of the event log, events, latest, audit.
-- ARGV version before ('' = no step of the judgement), cursor, events kept, alerts kept, audit entry and stamp ('' = none);
-- how many entries, and each as key and text ('' = it goes); how many alerts, and each as id, revision before, record
-- ('' = it goes), keys of the lists that it is on, how many messages, and each of them as content key and event.
-- An alert is kept as REVISION|LISTS|RECORD; the lists are of a subject's sightings and of its alerts.
local version = redis.call('HGET', KEYS[1], 'version') or '0'
if ARGV[1] ~= '' and version ~= ARGV[1] then return {'changed'} end

local function kept_alert(id)
  return string.match(redis.call('HGET', KEYS[3], id) or '', '^(%d+)|([^|]*)|')
end

local at = 7
local function next_arg()
  at = at + 1
  return ARGV[at - 1]
end
local entries = {}
for _ = 1, tonumber(next_arg()) do entries[#entries + 1] = {next_arg(), next_arg()} end
local writes = {}
for _ = 1, tonumber(next_arg()) do
  local write = {id = next_arg(), before = next_arg(), record = next_arg(), lists = next_arg(), told = {}}
  for _ = 1, tonumber(next_arg()) do write.told[#write.told + 1] = {next_arg(), next_arg()} end
  if (kept_alert(write.id) or '0') ~= write.before then return {'changed'} end
  writes[#writes + 1] = write
end
local audit = last_sequence(KEYS[8]) + 1

local function forget_alert(id)
  local _, lists = kept_alert(id)
  for key in string.gmatch(lists or '', '%S+') do redis.call('SREM', key, id) end
  redis.call('HDEL', KEYS[3], id)
  redis.call('ZREM', KEYS[4], id)
end

local told = {'ok'}
for _, write in ipairs(writes) do
  local _, listed = kept_alert(write.id)
  for key in string.gmatch(listed or '', '%S+') do redis.call('SREM', key, write.id) end
  if write.record == '' then
    forget_alert(write.id)
  else
    local alerts_of, seen = string.match(write.lists, '^([^,]*),(.*)$')
    for key in string.gmatch(alerts_of, '%S+') do redis.call('SADD', key, write.id) end
    for _, message in ipairs(write.told) do
      local sequence, revision, content = latest_revision(KEYS[7], write.id)
      if content ~= message[1] then
        revision = revision + 1
        sequence = append_event(KEYS[5], KEYS[6], KEYS[7], write.id, revision, message[1], message[2],
          tonumber(ARGV[3]), seen)
      end
      told[#told + 1] = sequence
      told[#told + 1] = revision
    end
    -- Behind its messages: one that a cut file holds without its record is written again and told once.
    redis.call('HSET', KEYS[3], write.id, (write.before + 1) .. '|' .. alerts_of .. '|' .. write.record)
    if write.before == '0' then redis.call('ZADD', KEYS[4], redis.call('HINCRBY', KEYS[1], 'alerts', 1), write.id) end
  end
end
for _ = 1, 2 do
  if redis.call('ZCARD', KEYS[4]) > tonumber(ARGV[4]) then
    forget_alert(redis.call('ZRANGE', KEYS[4], 0, 0)[1])
  end
end
if ARGV[5] ~= '' then append_audit(KEYS[8], audit, ARGV[5], ARGV[6]) end
if ARGV[1] ~= '' then
  for _, entry in ipairs(entries) do
    if entry[2] == '' then redis.call('HDEL', KEYS[2], entry[1]) else redis.call('HSET', KEYS[2], entry[1], entry[2]) end
  end
  -- The version is the very last: a step that a cut file holds half of is taken again, and writes the same.
  redis.call('HSET', KEYS[1], 'cursor', ARGV[2])
  redis.call('HSET', KEYS[1], 'version', tonumber(version) + 1)
end
return told
