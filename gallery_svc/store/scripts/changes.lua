#!lua flags=no-writes
-- The changes after a position, each with the subject's row as it is now; 'gone' when this history is not the one that
-- the caller knows. The chain is computed again from the caller's on.
-- KEYS head, log, rows of the active epoch.  ARGV generation, active epoch, sequence, chain, limit.
local found = redis.call('HMGET', KEYS[1], 'generation', 'pending', 'position', 'chain', 'active', 'kept', 'begun')
if not found[1] or found[1] ~= ARGV[1] then return {'absent'} end
local half = unfinished(found[2], found[7])
if half then return {'pending', half} end
if found[5] ~= ARGV[2] then return {'layout', found[5], found[6]} end
local sequence, chain, newest = tonumber(ARGV[3]), ARGV[4], tonumber(found[3])
if sequence == newest and chain == found[4] then return {'ok'} end
if sequence >= newest then return {'gone'} end
local entries = redis.call('XRANGE', KEYS[2], (sequence + 1) .. '-0', '+', 'COUNT', ARGV[5])
if #entries == 0 then return {'gone'} end
local answer = {'ok'}
for at, entry in ipairs(entries) do
  local told = entry[2]  -- kind, subject, templates, epoch, chain; each after its name
  sequence = sequence + 1
  chain = next_chain(chain, sequence, told[2], told[4], told[8], told[6])
  if entry[1] ~= sequence .. '-0' or told[10] ~= chain or sequence > newest then return {'gone'} end
  answer[at + 1] = {sequence, chain, told[2], told[4], redis.call('HGET', KEYS[3], told[4]) or ''}
end
return answer
