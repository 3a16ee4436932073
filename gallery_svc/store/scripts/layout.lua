-- Has a shard follow its collection's record; a record that is older than what the shard knows changes nothing.
-- KEYS head.  ARGV generation, revision of the record, active epoch, epochs.
local head, refusal = open_head(KEYS[1], ARGV[1])
if not head then return refusal end
if tonumber(redis.call('HGET', KEYS[1], 'revision')) < tonumber(ARGV[2]) then
  if not lists(head.kept, ARGV[3]) then head.kept = head.kept .. ',' .. ARGV[3] end
  head.active, head.epochs = ARGV[3], ARGV[4]
  redis.call('HSET', KEYS[1], 'revision', ARGV[2], 'active', head.active, 'epochs', head.epochs, 'kept', head.kept)
end
return {'ok', head.active, head.kept}
