-- ARGV: now; then for each task: model, fingerprint, created_at, deadline, ttl, channel, record_ms, tombstone_ms.
-- Answers false for a task whose record was written, or the record that is there, as HGETALL gives it.
local now = ARGV[1]
local answers = {}
for i = 1, #KEYS, 2 do
  local record, n = KEYS[i], (i + 1) / 2
  local there = redis.pcall('HGETALL', record)
  if there.err then
    answers[n] = there.err
  elseif #there > 0 then
    answers[n] = there
  else
    local model, fingerprint, created_at, deadline, ttl, channel, record_ms, tombstone_ms =
      unpack(ARGV, 8 * n - 6, 8 * n + 1)
    redis.call('HSET', record, 'model', model, 'state', 'queued', 'revision', '1', 'attempt', '0',
      'fingerprint', fingerprint, 'created_at', created_at, 'updated_at', now, 'deadline', deadline,
      'ttl', ttl, 'channels', channel)
    redis.call('PEXPIRE', record, record_ms)
    redis.call('SET', KEYS[i + 1], 'queued', 'PX', tombstone_ms)
    answers[n] = false
  end
end
return answers
