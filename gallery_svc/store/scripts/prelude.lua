-- What every script shares. A script checks everything before its first write: Lua has no rollback.
-- A script that writes more than one key of a shard marks the shard's head first and takes the mark away last: who finds
-- the mark later finds half of a write, which only a file that was cut can hold. The mark is a name and a count. Redis 7
-- and 8 keep the beginning of a transaction that was cut; at the next start they carry it out together with the whole
-- one that was written behind it. That one takes the name away with it; the count stays.
-- Streams carry our own sequence as their entry id, SEQUENCE-0: contiguous numbers that mean the same after a restart.

local NO_TAGS = string.rep('\0', 16)

local function last_sequence(stream)
  local last = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)
  if #last > 0 then return tonumber(string.match(last[1][1], '^(%d+)-')) end
  if redis.call('EXISTS', stream) == 0 then return 0 end
  local told = redis.call('XINFO', 'STREAM', stream)  -- trimmed to nothing: it still knows its last id
  for at = 1, #told, 2 do
    if told[at] == 'last-generated-id' then return tonumber(string.match(told[at + 1], '^(%d+)-')) end
  end
end

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- The 16 bytes that authenticate a sealed value; '' of none.
local function tag_of(value)
  if not value then return '' end
  return string.sub(value, -16)
end

-- Takes a tag into an exclusive or of tags, or out of it.
local function folded(state, tag)
  if tag == '' then return state end
  local a, b, c, d = struct.unpack('>i4i4i4i4', state)
  local e, f, g, h = struct.unpack('>i4i4i4i4', tag)
  return struct.pack('>i4i4i4i4', bit.bxor(a, e), bit.bxor(b, f), bit.bxor(c, g), bit.bxor(d, h))
end

-- Marks a head and writes into it whatever else is handed on, as (field, value). The count is the very first: what the
-- write leaves in the head is only right together with the rest of it.
local function begin_write(head_key, what, ...)
  redis.call('HINCRBY', head_key, 'begun', 1)
  redis.call('HSET', head_key, 'pending', what, ...)
end

local function end_write(head_key)
  redis.call('HDEL', head_key, 'pending')
  redis.call('HINCRBY', head_key, 'begun', -1)  -- the very last
end

-- What a head's mark says of a write that did not end; nil: all ended.
local function unfinished(pending, begun)
  if pending then return pending end
  if begun and begun ~= '0' then return '' end
end

-- The head of a shard that may be written to; else nil and the refusal. Its `more` are the fields that are named behind.
local function open_head(key, generation, ...)
  local found = redis.call('HMGET', key, 'generation', 'pending', 'closed', 'position', 'chain', 'active', 'epochs',
    'kept', 'subjects', 'templates', 'state', 'begun', ...)
  if not found[1] or found[1] ~= generation then return nil, {'absent'} end
  local half = unfinished(found[2], found[12])
  if half then return nil, {'pending', half} end
  if found[3] and now_ms() < tonumber(found[3]) then return nil, {'closed'} end
  if found[11] and #found[11] ~= 16 then return nil, {'corrupt', key} end
  return {position = tonumber(found[4]), chain = found[5], active = found[6], epochs = found[7], kept = found[8],
    subjects = tonumber(found[9]), templates = tonumber(found[10]), state = found[11] or NO_TAGS, more = {unpack(found, 13)}}
end

-- Whether a list such as '1,2' has a number.
local function lists(list, number)
  return string.find(',' .. list .. ',', ',' .. number .. ',', 1, true) ~= nil
end

-- The answer that a request id got before; nil when it is new, was given to another collection of the same name, or
-- only says that this very subject is meant. Telling it is a write, so that WAIT after it covers the first one.
local function earlier_answer(request, generation, digest, kind, subject)
  if redis.call('HGET', request, 'generation') ~= generation then return nil end  -- most are new: nothing more is read
  local told_digest, told_kind, told_subject, position, created, answer, pictures = unpack(redis.call('HMGET', request,
    'digest', 'kind', 'subject', 'position', 'created', 'answer', 'pictures'))
  if told_digest ~= digest then return {'reused'} end
  if told_kind == 'CLAIM' then
    if told_subject == subject and kind ~= 'CLAIM' then return nil end
    redis.call('HINCRBY', request, 'settled', 1)
    return {'claimed', told_subject}
  end
  if kind ~= 'CLAIM' and told_kind ~= kind then return {'reused'} end
  redis.call('HINCRBY', request, 'settled', 1)
  return {'replayed', told_kind, told_subject, position, created or '', answer or '', pictures or '0'}
end

local function append_audit(stream, sequence, entry, stamp)
  redis.call('XADD', stream, sequence .. '-0', 'entry', entry, 'stamp', stamp)
end

-- The digest over a whole history: of the one before, and of what the next entry says.
local function next_chain(chain, sequence, kind, subject, epoch, templates)
  return redis.sha1hex(table.concat({chain, sequence, kind, subject, epoch, templates}, '|'))
end

-- The sequence and the digest that a change would get.
local function next_change(head, kind, subject, templates)
  local sequence = head.position + 1
  return sequence, next_chain(head.chain, sequence, kind, subject, head.active, templates)
end

local function log_change(log, head, sequence, chain, kind, subject, templates)
  redis.call('XADD', log, sequence .. '-0', 'kind', kind, 'subject', subject, 'templates', templates,
    'epoch', head.active, 'chain', chain)
end

local function append_change(log, head, kind, subject, templates)
  local sequence, chain = next_change(head, kind, subject, templates)
  log_change(log, head, sequence, chain, kind, subject, templates)
  return sequence, chain
end

-- What is kept of an event's newest revision: its sequence, its revision (0: there is none), and its content's key.
local function latest_revision(latest, id)
  local sequence, revision, content = string.match(redis.call('HGET', latest, id) or '', '^(%d+) (%d+) (.*)$')
  return tonumber(sequence or 0), tonumber(revision or 0), content
end

-- Appends an event's next revision to the log, and lets at most two old ones go, so that a lowered limit is reached
-- without a pause. `seen` are the keys of the subjects that it names, with spaces between; those of events that leave by
-- age lie under the same tag. Where a file was cut in the middle of a script, the log is ahead of its head: it goes on
-- behind what is there.
local function append_event(head, events, latest, id, revision, content, event, kept, seen)
  local newest = math.max(tonumber(redis.call('HGET', head, 'newest') or 0), last_sequence(events))
  local oldest = tonumber(redis.call('HGET', head, 'oldest') or 1)
  local sequence = newest + 1
  redis.call('XADD', events, sequence .. '-0', 'id', id, 'revision', revision, 'event', event, 'seen', seen)
  redis.call('HSET', latest, id, sequence .. ' ' .. revision .. ' ' .. content)
  for key in string.gmatch(seen, '%S+') do redis.call('ZADD', key, sequence, sequence) end
  for _ = 1, 2 do
    if sequence - oldest + 1 > kept then
      local old = redis.call('XRANGE', events, oldest .. '-0', oldest .. '-0')
      if #old > 0 then
        local fields = old[1][2]
        redis.call('XDEL', events, old[1][1])
        if latest_revision(latest, fields[2]) == oldest then redis.call('HDEL', latest, fields[2]) end
        for key in string.gmatch(fields[8], '%S+') do redis.call('ZREM', key, oldest) end
      end
      oldest = oldest + 1
    end
  end
  redis.call('HSET', head, 'newest', sequence, 'oldest', oldest)
  return sequence
end
