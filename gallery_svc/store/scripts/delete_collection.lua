-- KEYS head, record, subjects, order, vectors, log, audit.  ARGV force, audit entry, audit kept.
-- The audit log stays: it tells of the collection after its end.
local subjects = redis.call('HGET', KEYS[1], 'subjects')
if not subjects then return {'absent'} end
if tonumber(subjects) > 0 and ARGV[1] ~= '1' then return {'not_empty', subjects} end
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6])
append_audit(KEYS[7], ARGV[2], ARGV[3])
return {'ok', subjects}
