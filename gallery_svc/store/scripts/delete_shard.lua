#!lua flags=allow-oom
-- Audit entries, receipts and open erasures stay: they tell of the collection after its end.
-- KEYS head, subjects, order, pictures, log, looks (5), then rows of each epoch that is kept.  ARGV generation, kept epochs.
local found = redis.call('HMGET', KEYS[1], 'generation', 'kept')
if not found[1] or found[1] ~= ARGV[1] then return {'absent'} end
if found[2] ~= ARGV[2] then return {'layout', found[2]} end
for at = #KEYS, 1, -1 do redis.call('UNLINK', KEYS[at]) end
return {'ok'}
