-- What every script shares. A script checks everything before its first write: Lua has no rollback.
-- Streams carry our own sequence as their entry id, SEQUENCE-0: contiguous numbers that mean the same after a restart.

local function last_sequence(stream)
  local last = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)
  if #last == 0 then return 0 end
  return tonumber(string.match(last[1][1], '^(%d+)-'))
end

local function append_audit(stream, entry, kept)
  local sequence = last_sequence(stream) + 1
  redis.call('XADD', stream, 'MAXLEN', '~', kept, sequence .. '-0', 'entry', entry)
  return sequence
end

-- The answer that a request id got before: nil when it is new or was given to another collection of the same name.
local function earlier_answer(request, generation, digest)
  local found = redis.call('HMGET', request, 'generation', 'digest', 'position', 'answer')
  if not found[1] or found[1] ~= generation then return nil end
  if found[2] ~= digest then return {'reused'} end
  return {'replayed', found[3], found[4]}
end

local function remember_answer(request, generation, digest, position, answer, kept_ms)
  redis.call('HSET', request, 'generation', generation, 'digest', digest, 'position', position, 'answer', answer)
  redis.call('PEXPIRE', request, kept_ms)
end

-- Appends to a collection's change log; the chain is a digest over the whole history.
local function append_change(head, log, kind, subject, templates, kept)
  local sequence = tonumber(redis.call('HGET', head, 'position')) + 1
  local chain = redis.call('HGET', head, 'chain')
  chain = redis.sha1hex(table.concat({chain, sequence, kind, subject, templates}, '|'))
  redis.call('XADD', log, 'MAXLEN', '~', kept, sequence .. '-0',
    'kind', kind, 'subject', subject, 'templates', templates, 'chain', chain)
  redis.call('HSET', head, 'position', sequence, 'chain', chain)
  return sequence
end
