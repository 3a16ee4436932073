#!lua flags=allow-oom
-- The end of a subject: everything of it goes from every epoch; its receipt is kept until nothing is left to be done.
-- KEYS head, subjects, order, pictures, log, audit, request, erasing, then rows of each epoch that is kept.
-- ARGV 1 generation, 2 active epoch | kept epochs, 3 subject id, 4 tag of its record, 5 receipt id, 6 receipt,
--      7 templates, 8 digest of the request ('' = none), 9 milliseconds to keep it,
--      10 audit entry, 11 its stamp, then the fields that its pictures could have.
local head, refusal = open_head(KEYS[1], ARGV[1])
if not head then return refusal end
local subject, first_row, first_picture = ARGV[3], 9, 12
if ARGV[8] ~= '' then
  local earlier = earlier_answer(KEYS[7], ARGV[1], ARGV[8], 'ERASED', subject)
  if earlier then return earlier end
end
if head.active .. '|' .. head.kept ~= ARGV[2] then return {'layout', head.active, head.kept} end
local record = redis.call('HGET', KEYS[2], subject)
if not record then return {'no_subject'} end
if tag_of(record) ~= ARGV[4] then return {'changed'} end
if last_sequence(KEYS[5]) > head.position then return {'corrupt', KEYS[5]} end
local entry = last_sequence(KEYS[6]) + 1
local picture_state, pictures = redis.call('HGET', KEYS[1], 'state:pictures') or NO_TAGS, 0

begin_write(KEYS[1], (head.position + 1) .. ' ' .. subject)
redis.call('HDEL', KEYS[2], subject)
redis.call('ZREM', KEYS[3], subject)
local fields = {'state', folded(head.state, ARGV[4])}
for at = first_row, #KEYS do
  local row = redis.call('HGET', KEYS[at], subject)
  if row then
    local name = 'state:' .. string.match(KEYS[at], 'rows:%d+$')
    fields[#fields + 1] = name
    fields[#fields + 1] = folded(redis.call('HGET', KEYS[1], name) or NO_TAGS, tag_of(row))
    redis.call('HDEL', KEYS[at], subject)
  end
end
for at = first_picture, #ARGV do
  local picture = redis.call('HGET', KEYS[4], ARGV[at])
  if picture then
    picture_state, pictures = folded(picture_state, tag_of(picture)), pictures + 1
    redis.call('HDEL', KEYS[4], ARGV[at])
  end
end
if pictures > 0 then
  fields[#fields + 1] = 'state:pictures'
  fields[#fields + 1] = picture_state
end
local position, chain = append_change(KEYS[5], head, 'ERASED', subject, '')
redis.call('HSET', KEYS[1], 'position', position, 'chain', chain, 'subjects', head.subjects - 1,
  'templates', head.templates - tonumber(ARGV[7]), unpack(fields))
redis.call('HSET', KEYS[8], ARGV[5], table.concat({position, pictures, ARGV[1], ARGV[6]}, ' '))
append_audit(KEYS[6], entry, ARGV[10], ARGV[11])
if ARGV[8] ~= '' then
  redis.call('HSET', KEYS[7], 'generation', ARGV[1], 'digest', ARGV[8], 'kind', 'ERASED', 'subject', subject,
    'position', position, 'answer', ARGV[6], 'pictures', pictures)
  redis.call('PEXPIRE', KEYS[7], ARGV[9])
end
end_write(KEYS[1])
return {'ok', position, pictures}
