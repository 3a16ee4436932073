-- An enrolment, an update, or the end of a template: the subject as it was is compared, and the subject as it is written.
-- KEYS head, subjects, order, pictures, log, audit, request, then rows of each epoch that is kept.
-- ARGV 1 generation, 2 active epoch | kept epochs, 3 subject id, 4 tag of its record before ('' = new), 5 its record,
--      6 kind of change, 7 template ids, 8 templates more or less, 9 digest of the request ('' = none), 10 created,
--      11 answer, 12 milliseconds to keep it, 13 audit entry, 14 its stamp,
--      then for each epoch: tag of its row before ('' = none), its row ('' = none, '=' = as it is),
--      then how many pictures come, (field, picture) of each, and the fields of those that go.
local subject, rows_at, row_keys, state_names = ARGV[3], 15, #KEYS - 7, {}
for at = 1, row_keys do state_names[at] = 'state:' .. string.match(KEYS[7 + at], 'rows:%d+$') end
local head, refusal = open_head(KEYS[1], ARGV[1], unpack(state_names))
if not head then return refusal end
if ARGV[9] ~= '' then
  local earlier = earlier_answer(KEYS[7], ARGV[1], ARGV[9], ARGV[6], subject)
  if earlier then return earlier end
end
if head.active .. '|' .. head.kept ~= ARGV[2] then return {'layout', head.active, head.kept} end

local record = redis.call('HGET', KEYS[2], subject)
local rows, same = {}, tag_of(record) == ARGV[4]
for at = 1, row_keys do
  rows[at] = redis.call('HGET', KEYS[7 + at], subject)
  same = same and tag_of(rows[at]) == ARGV[rows_at + 2 * at - 2]
end
if not same then
  local answer = {'changed', record or ''}
  for at = 1, row_keys do answer[#answer + 1] = rows[at] or '' end
  return answer
end
if last_sequence(KEYS[5]) > head.position then return {'corrupt', KEYS[5]} end
if (redis.call('ZSCORE', KEYS[3], subject) and true or false) ~= (record and true or false) then
  return {'corrupt', KEYS[3]}
end
local entry = last_sequence(KEYS[6]) + 1
local pictures_at = rows_at + 2 * row_keys + 1
local pictures_end = pictures_at + 2 * tonumber(ARGV[pictures_at - 1]) - 1
local picture_state = nil
if #ARGV >= pictures_at then picture_state = redis.call('HGET', KEYS[1], 'state:pictures') or NO_TAGS end
local position, chain = next_change(head, ARGV[6], subject, ARGV[7])
local fields = {'position', position, 'chain', chain, 'subjects', head.subjects + (record and 0 or 1),
  'templates', head.templates + tonumber(ARGV[8]), 'state', folded(folded(head.state, ARGV[4]), tag_of(ARGV[5]))}
for at = 1, row_keys do
  local row = ARGV[rows_at + 2 * at - 1]
  if row ~= '=' and (row ~= '' or rows[at]) then
    fields[#fields + 1] = state_names[at]
    fields[#fields + 1] = folded(folded(head.more[at] or NO_TAGS, tag_of(rows[at])), row == '' and '' or tag_of(row))
  end
end

begin_write(KEYS[1], position .. ' ' .. subject, unpack(fields))
redis.call('HSET', KEYS[2], subject, ARGV[5])
if not record then redis.call('ZADD', KEYS[3], 0, subject) end
for at = 1, row_keys do
  local row = ARGV[rows_at + 2 * at - 1]
  if row == '' then
    if rows[at] then redis.call('HDEL', KEYS[7 + at], subject) end
  elseif row ~= '=' then
    redis.call('HSET', KEYS[7 + at], subject, row)
  end
end
for at = pictures_at, pictures_end, 2 do
  picture_state = folded(picture_state, tag_of(redis.call('HGET', KEYS[4], ARGV[at])))
  picture_state = folded(picture_state, tag_of(ARGV[at + 1]))
  redis.call('HSET', KEYS[4], ARGV[at], ARGV[at + 1])
end
for at = pictures_end + 1, #ARGV do
  picture_state = folded(picture_state, tag_of(redis.call('HGET', KEYS[4], ARGV[at])))
  redis.call('HDEL', KEYS[4], ARGV[at])
end
if picture_state then redis.call('HSET', KEYS[1], 'state:pictures', picture_state) end
log_change(KEYS[5], head, position, chain, ARGV[6], subject, ARGV[7])
append_audit(KEYS[6], entry, ARGV[13], ARGV[14])
if ARGV[9] ~= '' then
  redis.call('HSET', KEYS[7], 'generation', ARGV[1], 'digest', ARGV[9], 'kind', ARGV[6], 'subject', subject,
    'position', position, 'created', ARGV[10], 'answer', ARGV[11])
  redis.call('PEXPIRE', KEYS[7], ARGV[12])
end
end_write(KEYS[1])
return {'ok', position}
