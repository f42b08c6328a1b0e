-- ARGV: now, unfinished_ms, tombstone_ms; then for each task the seven values that describe it.
-- Answers 1 for a task whose record is pending no more, or was written anew because it had vanished or been withdrawn by
-- another submit of the same key; 0 when there was nothing to do.
local now, unfinished_ms, tombstone_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local answers = {}
for i = 1, #KEYS, 2 do
  local record, tombstone, n = KEYS[i], KEYS[i + 1], (i + 1) / 2
  local model, fingerprint, created_at, deadline, ttl, channel, digest = unpack(ARGV, 7 * n - 3, 7 * n + 3)
  local fields, wrong = read(record, 'pending', 'digest', 'channels', 'ttl')
  local state = not wrong and fields[1]
  local last = not wrong and not state and tombstone_state(tombstone)
  if wrong then
    answers[n] = wrong
  elseif state == 'queued' and fields[3] and fields[4] == digest then
    local revision = fields[2] + 1
    redis.call('HDEL', record, 'pending')
    redis.call('HSET', record, 'revision', revision, 'updated_at', now)
    keep(record, tombstone, fields[6], unfinished_ms, tombstone_ms)
    announce(record, fields[5], revision, state)
    answers[n] = 1
  elseif not state and (not last or last == 'withdrawn' or not terminal(last)) then
    describe(record, model, fingerprint, created_at, deadline, ttl, channel, digest)
    redis.call('HSET', record, 'state', 'queued', 'revision', '2', 'attempt', '0', 'updated_at', now)
    keep(record, tombstone, ttl, unfinished_ms, tombstone_ms)
    answers[n] = 1
  else
    answers[n] = 0
  end
end
return answers
