-- KEYS head, log, subjects, vectors.  ARGV sequence, chain, limit.
-- The changes after a position, each with its vectors; 'gone' when this history is not the one that the caller knows.
local head = redis.call('HMGET', KEYS[1], 'position', 'chain', 'generation')
local sequence = tonumber(ARGV[1])
if not head[1] or sequence > tonumber(head[1]) then return {'gone'} end
if sequence == tonumber(head[1]) then
  if head[2] ~= ARGV[2] then return {'gone'} end
  return {'ok'}
end
if sequence == 0 then
  if head[3] ~= ARGV[2] then return {'gone'} end
else
  local known = redis.call('XRANGE', KEYS[2], sequence .. '-0', sequence .. '-0')
  if #known == 0 or known[1][2][8] ~= ARGV[2] then return {'gone'} end
end
local entries = redis.call('XRANGE', KEYS[2], (sequence + 1) .. '-0', '+', 'COUNT', ARGV[3])
local answer = {'ok'}
for at, entry in ipairs(entries) do
  if entry[1] ~= (sequence + at) .. '-0' then return {'gone'} end
  local fields = entry[2]
  local templates = {}
  for id in string.gmatch(fields[6], '[^,]+') do
    local vector = redis.call('HGET', KEYS[4], id)
    if vector then
      templates[#templates + 1] = id
      templates[#templates + 1] = vector
    end
  end
  local subject = redis.call('HGET', KEYS[3], fields[4]) or ''
  answer[#answer + 1] = {sequence + at, fields[8], fields[2], fields[4], subject, templates}
end
if #entries == 0 then return {'gone'} end
return answer
