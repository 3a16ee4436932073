-- KEYS audit.  ARGV each entry and its stamp.
local first = last_sequence(KEYS[1]) + 1
for at = 1, #ARGV, 2 do append_audit(KEYS[1], first + (at - 1) / 2, ARGV[at], ARGV[at + 1]) end
return {'ok', first}
