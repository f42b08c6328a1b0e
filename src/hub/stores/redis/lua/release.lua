-- ARGV: now, unfinished_ms, tombstone_ms; then for each run: attempt, retry_at or ''.
-- Answers 1 when the task waits for another run now, 0 when it has ended or a later run has begun, -1 when nothing is
-- known of it.
local now, unfinished_ms, tombstone_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local answers = {}
for i = 1, #KEYS, 2 do
  local record, tombstone, n = KEYS[i], KEYS[i + 1], (i + 1) / 2
  local attempt, retry_at = tonumber(ARGV[2 * n + 2]), ARGV[2 * n + 3]
  local fields, wrong = read(record, 'attempt', 'channels', 'ttl')
  local state = not wrong and fields[1]
  local last = not wrong and not state and tombstone_state(tombstone)
  local present = state and tonumber(fields[3]) or 0
  if wrong then
    answers[n] = wrong
  elseif not state then
    answers[n] = last and terminal(last) and 0 or -1
  elseif terminal(state) or present > attempt then
    answers[n] = 0
  elseif state == 'queued' and present == attempt then
    answers[n] = 1
  else
    local revision = fields[2] + 1
    redis.call('HSET', record, 'state', 'queued', 'revision', revision, 'attempt', attempt, 'updated_at', now)
    redis.call('HINCRBY', record, 'released', math.max(1, attempt - present)) -- with those that the server has missed
    redis.call('HDEL', record, 'progress', 'pending', 'retry_at', 'reset', 'started_at')
    if retry_at ~= '' then
      redis.call('HSET', record, 'retry_at', retry_at)
      redis.call('HINCRBY', record, 'retries', 1)
    end
    keep(record, tombstone, fields[5], unfinished_ms, tombstone_ms)
    announce(record, fields[4], revision, 'queued')
    answers[n] = 1
  end
end
return answers
