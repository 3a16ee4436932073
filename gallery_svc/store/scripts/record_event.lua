-- KEYS head, events, latest, audit, then the sightings of each subject that the event names.
-- ARGV event_id, content key, event, events kept, then the audit entry and its stamp, where there is one.
local sequence, revision, content = latest_revision(KEYS[3], ARGV[1])
if content == ARGV[2] then return {'known', sequence, revision} end
local entry = last_sequence(KEYS[4]) + 1

local seen = table.concat({unpack(KEYS, 5)}, ' ')
sequence = append_event(KEYS[1], KEYS[2], KEYS[3], ARGV[1], revision + 1, ARGV[2], ARGV[3], tonumber(ARGV[4]), seen)
if #ARGV > 4 then append_audit(KEYS[4], entry, ARGV[5], ARGV[6]) end
return {'ok', sequence, revision + 1}
