-- KEYS audit.  ARGV entry, kept.
return append_audit(KEYS[1], ARGV[1], ARGV[2])
