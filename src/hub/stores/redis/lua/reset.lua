-- ARGV: now, unfinished_ms, tombstone_ms; then for each task the seven values that describe it.
-- Answers 1 for a task that waits for a run now, 0 for one that is not dead.
local now, unfinished_ms, tombstone_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local answers = {}
for i = 1, #KEYS, 2 do
  local record, tombstone, n = KEYS[i], KEYS[i + 1], (i + 1) / 2
  local model, fingerprint, created_at, deadline, ttl, channel, digest = unpack(ARGV, 7 * n - 3, 7 * n + 3)
  local fields, wrong = read(record, 'attempt', 'channels', 'reset')
  local state = not wrong and fields[1]
  local last = not wrong and not state and tombstone_state(tombstone)
  local forgotten = not state and (not last or last == 'dead' or last == 'withdrawn' or not terminal(last))
  if wrong then
    answers[n] = wrong
  elseif state == 'queued' and fields[5] then
    answers[n] = 1
  elseif state ~= 'dead' and not forgotten then
    answers[n] = 0
  else
    local attempt, revision = tonumber(fields[3]) or 0, (fields[2] or 0) + 1
    redis.call('HDEL', record, 'outcome', unpack(MORE_PIECES))
    redis.call('HDEL', record, 'retries', 'progress', 'pending', 'retry_at', 'digest', 'started_at', 'chunks')
    describe(record, model, fingerprint, created_at, deadline, ttl, channel, digest)
    redis.call('HSET', record, 'state', 'queued', 'revision', revision, 'attempt', attempt, 'released', attempt,
      'updated_at', now, 'reset', '1')
    keep(record, tombstone, ttl, unfinished_ms, tombstone_ms)
    announce(record, fields[4], revision, 'queued')
    answers[n] = 1
  end
end
return answers
